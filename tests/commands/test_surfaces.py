"""A command has the same effect and the same texts on each surface."""

from __future__ import annotations

import pytest

from nbflow.cli.main import commands_of as terminal_commands
from nbflow.command_arguments import argument, values_of
from nbflow.commands import all_commands, command_named
from nbflow.commands import dags as nbflow_commands_dags
from nbflow.commands.base import Command, Refused, Result, run_command
from nbflow.commands.context import Context
from nbflow.commands.surface_syntax import Surface
from nbflow.errors import DagNotFound
from nbflow.notebook.commands import command_function
from nbflow.notebook.commands import context_of as kernel_context
from nbflow.notebook.session import current_session


def _audited(app) -> list[tuple[str, object, bool]]:
    return [(entry["action"], entry["detail"].get("dag_id"), entry["ok"]) for entry in reversed(app.store.audit_log())]


def test_terminal_magic_and_function_pause_and_unpause(nbflow, magic, app, sales):
    # When each surface unpauses and pauses a DAG
    results = [
        nbflow("dags", "unpause", sales, "-o", "json").json,
        nbflow("dags", "pause", sales, "-o", "plain").out.splitlines()[1].split(),
        repr(magic(f"unpause {sales}")),
        repr(magic(f"pause {sales}")),
        command_function("dags unpause")(sales).data,
        command_function("dags pause")(sales).data,
    ]
    # Then each returns the new state, and the audit log has the same entries for each
    assert results == [
        [{"dag_id": sales, "is_paused": False}], [sales, "True"], "DAG sales is unpaused.", "DAG sales is paused.",
        True, True,
    ]  # fmt: skip
    assert _audited(app) == [("unpause", sales, True), ("pause", sales, True)] * 3


def test_pausing_a_paused_dag_is_not_audited(nbflow, magic, app, sales):
    assert nbflow("dags", "pause", sales, "-o", "json").json == [{"dag_id": sales, "is_paused": True}]
    assert repr(magic(f"pause {sales}")) == "DAG sales is already paused."
    assert _audited(app) == []


def test_a_failed_change_is_audited_and_an_invalid_command_line_is_not(nbflow, magic, app, sales):
    # When an unknown DAG is paused, and DAGs are selected by an invalid pattern
    assert nbflow("dags", "pause", "slaes").code == 1
    assert nbflow("dags", "pause", "(", "--treat-dag-id-as-regex").code == 2
    with pytest.raises(DagNotFound, match=r"There is no DAG 'slaes'\. Did you mean 'sales'\?"):
        magic("pause slaes")
    # Then the audit log has the failed changes
    assert _audited(app) == [("pause", "slaes", False)] * 2


def test_a_pattern_that_matches_several_dags_needs_confirmation(app, sales):
    # Given two DAGs that match a pattern, and one that does not
    version = app.store.version(sales)
    from dataclasses import replace

    for dag_id in ("sales_eu", "other"):
        app.store.register(replace(version, dag_id=dag_id), now=app.clock.now(), paused=False)
    questions: list[str] = []

    def answer_no(question: str, preview: object) -> bool:
        questions.append(question)
        return False

    context = kernel_context(current_session())
    command = command_named("dags pause")
    # When they are paused by the pattern without confirmation
    args = values_of(command.arguments, {"dag_id": "^sales", "treat_dag_id_as_regex": True})
    assert run_command(command, context, args, confirm=answer_no) is None
    # Then the question has their ids, and nothing is changed
    assert questions == ["Pause 2 DAGs: sales, sales_eu?"]
    assert not app.store.dag("sales_eu").paused
    # And with confirmation, exactly the DAGs of the preview change
    preview = command.preview(context, args)
    before = {row.dag_id: row.paused for row in app.store.dags()}
    run_command(command, context, args)
    after = {row.dag_id: row.paused for row in app.store.dags()}
    assert {item["dag_id"] for item in preview.items} == {name for name in after if before[name] != after[name]}


def test_a_new_command_is_declared_once(nbflow, magic, app, sales, monkeypatch):
    # Given a command that is added to a module of nbflow.commands
    greet_command = Command(
        name="dags greet",
        magic="%dag greet",
        help="Greet a DAG.",
        permission="dags.read",
        arguments=(argument("dag_id", help="Id of the DAG."), argument("--word", default="Hello", help="The word.")),
        example="sales",
        run=lambda context, args: Result(text=f"{args.word}, {args.dag_id}.", value=args.word),
    )
    monkeypatch.setattr(nbflow_commands_dags, "COMMANDS", (*nbflow_commands_dags.COMMANDS, greet_command))
    all_commands.cache_clear()
    # Then the terminal has it with its help
    helps = [command.help for command in terminal_commands("dags") if command.name == "dags greet"]
    assert helps == ["Greet a DAG."]
    assert nbflow("dags", "greet", "sales").out == "Hello, sales.\n"
    # And it is a function with its docstring
    greet = command_function("dags greet")
    assert (greet.__doc__, repr(greet("sales", word="Hi")), greet("sales").data) == (
        "Greet a DAG.",
        "Hi, sales.",
        "Hello",
    )
    all_commands.cache_clear()


def test_a_command_with_a_refusal_is_not_run(app):
    # Given a command with a refusal
    calls: list[str] = []
    command = Command(
        name="dags never", help="Never.", permission="dags.edit", changes=True,
        run=lambda context, args: calls.append("run"), refusals=lambda context, args: [Refused("It is Sunday.")],
    )  # fmt: skip
    context = Context(app=app, actor="user", dags=None, surface=Surface.TERMINAL, zone=None)  # type: ignore[arg-type]
    # Then run_command raises with the refusal, and does not call run
    with pytest.raises(Refused, match=r"^It is Sunday\.$"):
        run_command(command, context, values_of((), {}))
    assert calls == []
    assert _audited(app) == [("dags_never", None, False)]
