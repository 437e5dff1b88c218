"""A command does the same and says the same wherever it is asked for."""

from __future__ import annotations

import pytest

from nbflow.cli.main import commands_of as lines_of
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
    return [(line["action"], line["detail"].get("dag_id"), line["ok"]) for line in reversed(app.store.audit_log())]


def test_terminal_magic_and_function_pause_alike(nbflow, magic, app, sales):
    # Given a paused DAG, when each surface unpauses and pauses it
    said = [
        nbflow("dags", "unpause", sales, "-o", "json").json,
        nbflow("dags", "pause", sales, "-o", "plain").out.splitlines()[1].split(),
        repr(magic(f"unpause {sales}")),
        repr(magic(f"pause {sales}")),
        command_function("dags unpause")(sales).data,
        command_function("dags pause")(sales).data,
    ]
    # Then each says what it did, and the history is the same each time
    assert said == [
        [{"dag_id": sales, "is_paused": False}], [sales, "True"], "DAG sales is unpaused.", "DAG sales is paused.",
        True, True,
    ]  # fmt: skip
    assert _audited(app) == [("unpause", sales, True), ("pause", sales, True)] * 3


def test_what_is_so_already_changes_nothing_and_leaves_no_trace(nbflow, magic, app, sales):
    assert nbflow("dags", "pause", sales, "-o", "json").json == [{"dag_id": sales, "is_paused": True}]
    assert repr(magic(f"pause {sales}")) == "DAG sales is already paused."
    assert _audited(app) == []


def test_a_change_that_fails_is_audited_and_a_line_that_makes_no_sense_is_not(nbflow, magic, app, sales):
    # Given a DAG that is not there, and a pattern that is none
    assert nbflow("dags", "pause", "slaes").code == 1
    assert nbflow("dags", "pause", "(", "--treat-dag-id-as-regex").code == 2
    with pytest.raises(DagNotFound, match=r"There is no DAG 'slaes'\. Did you mean 'sales'\?"):
        magic("pause slaes")
    # Then who tried to change it stands in the history
    assert _audited(app) == [("dags_pause", "slaes", False)] * 2


def test_a_pattern_asks_before_it_changes_more_than_one_dag(app, sales):
    # Given two DAGs
    version = app.store.version(sales)
    from dataclasses import replace

    for dag_id in ("sales_eu", "other"):
        app.store.register(replace(version, dag_id=dag_id), now=app.clock.now(), paused=False)
    asked: list[str] = []

    def no(question: str, preview: object) -> bool:
        asked.append(question)
        return False

    context = kernel_context(current_session())
    one = command_named("dags pause")
    # When they are paused by a pattern
    args = values_of(one.arguments, {"dag_id": "^sales", "treat_dag_id_as_regex": True})
    assert run_command(one, context, args, confirm=no) is None
    # Then the question names them, and a no changes nothing
    assert asked == ["Pause 2 DAGs: sales, sales_eu?"]
    assert not app.store.dag("sales_eu").paused
    # And the preview is what a yes changes
    preview = one.preview(context, args)
    before = {row.dag_id: row.paused for row in app.store.dags()}
    run_command(one, context, args)
    after = {row.dag_id: row.paused for row in app.store.dags()}
    assert {item["dag_id"] for item in preview.items} == {name for name in after if before[name] != after[name]}


def test_a_new_command_is_declared_once(nbflow, magic, app, sales, monkeypatch):
    # Given a command that is added to a module of commands
    hello = Command(
        name="dags greet",
        magic="%dag greet",
        help="Greet a DAG.",
        permission="dags.read",
        arguments=(argument("dag_id", help="Id of the DAG."), argument("--word", default="Hello", help="The word.")),
        example="sales",
        run=lambda context, args: Result(text=f"{args.word}, {args.dag_id}.", value=args.word),
    )
    monkeypatch.setattr(nbflow_commands_dags, "COMMANDS", (*nbflow_commands_dags.COMMANDS, hello))
    all_commands.cache_clear()
    # Then the terminal has it, with help
    assert [one.help for one in lines_of("dags") if one.name == "dags greet"] == ["Greet a DAG."]
    assert nbflow("dags", "greet", "sales").out == "Hello, sales.\n"
    # And so has Python
    greet = command_function("dags greet")
    assert (greet.__doc__, repr(greet("sales", word="Hi")), greet("sales").data) == (
        "Greet a DAG.",
        "Hi, sales.",
        "Hello",
    )
    all_commands.cache_clear()


def test_a_command_that_is_refused_is_not_carried_out(app):
    # Given a command with a reason against it
    done: list[str] = []
    one = Command(
        name="dags never", help="Never.", permission="dags.edit", changes=True,
        run=lambda context, args: done.append("done"), refusals=lambda context, args: ["It is Sunday."],
    )  # fmt: skip
    context = Context(app=app, actor="user", dags=None, surface=Surface.TERMINAL, zone=None)  # type: ignore[arg-type]
    # Then it says so, and it is not done
    with pytest.raises(Refused, match=r"^It is Sunday\.$"):
        run_command(one, context, values_of((), {}))
    assert done == []
    assert _audited(app) == [("dags_never", None, False)]
