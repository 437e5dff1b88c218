"""What a command says that it would change is what it changes, and whoever can lose something by it is asked first."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as lines_of
from nbflow.command_arguments import Values, values_of
from nbflow.commands import MODULES, all_commands, command_named
from nbflow.commands.base import Result, run_command
from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.notebook.commands import context_of
from nbflow.notebook.session import current_session
from nbflow.services.dag_test import run_test
from nbflow.sources.loading import load_source

ASK = {
    "dags pause": ["s.*", "--treat-dag-id-as-regex"],
    "dags unpause": ["s.*", "--treat-dag-id-as-regex"],
    "dags delete": ["sales"],
    "dags clear": ["sales"],
    "dags backfill": ["sales", "-s", "2024-01-01", "-e", "2024-01-03", "--reset-dagruns"],
    "db clean": ["--clean-before-timestamp", "2100-01-01"],
    "db drop-archived": [],
    "tasks clear": ["sales"],
    "tasks mark": ["sales", "load", "--state", "success"],
}
"""Commands that may ask, and words with which they do."""


@pytest.fixture
def runs(app, sales, magic) -> list[RunKey]:
    """Two runs of sales that have failed, and a second DAG whose id begins alike."""
    from dataclasses import replace

    version = app.store.version(sales)
    app.store.register(replace(version, dag_id="sales_eu"), now=app.clock.now(), paused=True)
    [dag] = load_source(version.fileloc, folder=app.settings.core.dags_folder, options=app.compile_options()).dags
    made = [run_test(dag, logical_date=None, app=app), run_test(dag, logical_date=app.clock.now(), app=app)]
    return [run.key for run in made]


def _both(name: str, **given: Any) -> tuple[Any, Result, Values]:
    """The preview of a command, then its result."""
    one = command_named(name)
    args = values_of(one.arguments, given)
    context = context_of(current_session())
    preview = one.preview(context, args)
    done = run_command(one, context, args)
    assert preview is not None
    assert done is not None
    return preview, done, args


def _states(app, runs: list[RunKey]) -> dict[Any, str]:
    tasks = {(run.run_id, one.task_id): one.state.value for run in runs for one in app.store.instances(run)}
    return {**tasks, **{(run.run_id, None): app.store.run(run).state.value for run in runs}}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"only_failed": True},
        {"tasks": ["extract"], "downstream": True},
        {"task_regex": "^lo", "upstream": True},
        {"newest": True, "tasks": ["load"]},
    ],
)
def test_clearing_changes_what_its_preview_says(app, sales, runs, given):
    # Given runs that have failed
    before = _states(app, runs)
    # When tasks are cleared
    preview, done, _ = _both("tasks clear", dag_id=sales, **given)
    # Then the preview, the result and what has changed are the same
    after = _states(app, runs)
    changed = {(run_id, task) for (run_id, task) in before if task and before[run_id, task] != after[run_id, task]}
    assert {(item["run_id"], item["task_id"]) for item in preview.items} == changed != set()
    assert done.rows == preview.items


@pytest.mark.parametrize(
    ("tasks", "state"),
    [
        *product((["load"], ["extract", "load"]), ("success", "failed", "skipped")),
        *product(([],), ("success", "failed")),
    ],
)
def test_marking_changes_what_its_preview_says(app, sales, runs, tasks, state):
    # Given a run that was cleared, of which nothing has run again
    app.operations().clear(runs[0], ["load"])
    before = _states(app, [runs[0]])
    # When tasks, or the run itself, are marked
    preview, done, _ = _both("tasks mark", dag_id=sales, tasks=tasks, run=runs[0].run_id, state=state)
    # Then the preview, the result and what has changed are the same; a run ends by itself at the scheduler's next loop
    after = _states(app, [runs[0]])
    changed = {name: after[name] for name in before if before[name] != after[name]}
    assert {(item["run_id"], item.get("task_id")): item["state"] for item in preview.items} == changed
    assert done.rows == preview.items


def test_a_backfill_makes_what_its_preview_says(app, sales, runs):
    # Given no run of these days; when they are backfilled
    preview, done, _ = _both("backfill create", dag_id=sales, from_date="2024-01-01", to_date="2024-01-03")
    # Then exactly the runs of the preview are there
    there = {run.run_id for run in app.store.runs(sales) if run.run_type == "backfill"}
    assert {item["run_id"] for item in preview.items} == there
    assert len(there) == 3
    assert done.rows == preview.items
    # And cancelling it ends those that its own preview names
    cancelled, _, _ = _both("backfill cancel", backfill_id=done.value.backfill_id)
    failed = {run.run_id for run in app.store.runs(sales, states=[RunState.FAILED]) if run.run_type == "backfill"}
    assert {item["run_id"] for item in cancelled.items} == failed == there


def test_deleting_deletes_what_its_preview_says(app, sales, runs):
    preview, done, _ = _both("dags delete", dag_id=sales)
    assert preview.items == done.rows == ({"dag_id": sales, "rows": done.value},)
    assert (done.value > 10, app.store.dag(sales), app.store.run(runs[0])) == (True, None, None)


@pytest.mark.parametrize("name", ["variables delete", "connections delete", "pools delete"])
def test_deleting_what_is_set_deletes_what_its_preview_says(nbflow, app, magic, name):
    nbflow("variables", "set", "x", "1")
    nbflow("connections", "add", "x", "--conn-type", "http")
    nbflow("pools", "set", "x", "1")
    preview, _, args = _both(name, **{command_named(name).arguments[0].name: "x"})
    assert [item[command_named(name).arguments[0].name] for item in preview.items] == ["x"]
    # And once more there is nothing to delete
    with pytest.raises(NbflowError, match="x"):
        run_command(command_named(name), context_of(current_session()), args)


def test_previews_and_refusals_change_nothing(app, sales, runs, nbflow):
    # Given all commands that change something, with arguments that make sense here
    given: dict[str, dict[str, Any]] = {
        "dags pause": {"dag_id": sales},
        "dags unpause": {"dag_id": sales},
        "dags delete": {"dag_id": sales},
        "dags clear": {"dag_id": sales},
        "tasks clear": {"dag_id": sales},
        "tasks mark": {"dag_id": sales, "state": "success"},
        "backfill create": {"dag_id": sales, "from_date": "2024-01-01"},
    }
    before = (_states(app, runs), app.store.audit_log(), app.store.last_seq(), app.store.dag(sales))
    for name, values in given.items():
        one = command_named(name)
        args = values_of(one.arguments, values)
        preview = one.preview(context_of(current_session()), args)
        one.refusals(context_of(current_session()), args)
        one.confirmation(context_of(current_session()), args, preview)
    # Then nothing has changed
    assert (_states(app, runs), app.store.audit_log(), app.store.last_seq(), app.store.dag(sales)) == before


# -------------------------------------------------------------------------------------------------------------- asking


def test_the_table_of_what_asks_is_complete():
    assert {one.name for one in all_commands().values() if one.may_ask} == ASK.keys()


@pytest.mark.parametrize("name", ASK)
def test_a_terminal_asks_where_the_table_says_and_yes_answers(nbflow, app, sales, runs, name):
    # Given something to lose, and nobody to ask
    nbflow("variables", "set", "x", "1")
    nbflow("db", "clean", "--clean-before-timestamp", "2100-01-01", "-t", "audit", "-y")
    nbflow("backfill", "create", "sales", "2024-01-01", "2024-01-03")
    for run in app.store.runs(sales, states=[RunState.QUEUED]):
        app.operations().mark_run(run.key, RunState.FAILED)
    asked = nbflow(*name.split(), *ASK[name])
    # Then it is refused, with the question
    assert (asked.code, asked.out) == (2, "")
    assert re.search(r"\?.* Standard input is not a terminal\. Confirm with -y\.$", asked.err, re.MULTILINE)
    # And the option is there to answer it
    [line] = [one for one in lines_of(name.split()[0]) if one.name == name]
    assert "-y" in [flag for argument in line.arguments for flag in argument.flags]


def test_what_does_not_ask_has_no_option_to_answer():
    for group in MODULES.keys() & GROUPS.keys():
        for one in lines_of(group):
            if one.name in all_commands():
                has = "-y" in [flag for argument in one.arguments for flag in argument.flags]
                assert has == command_named(one.name).may_ask, one.name


def test_a_clear_with_nothing_to_lose_does_not_ask(nbflow, app, sales):
    done = nbflow("tasks", "clear", sales)
    assert (done.code, done.out) == (0, "No task instance to clear.\n")


# --------------------------------------------------------------------------------------------------------------- alike


def test_terminal_and_magic_clear_and_mark_alike(nbflow, magic, app, sales, runs):
    # Given two runs that have failed in the same way
    def done(run: RunKey, words: Callable[[str], Any]) -> dict[Any, str]:
        words(run.run_id)
        return {task: state for (_, task), state in _states(app, [run]).items()}

    for words, line in (
        (["tasks", "clear", sales, "load", "-y"], f"clear {sales} load"),
        (["tasks", "mark", sales, "load", "--state", "skipped", "-y"], f"mark {sales} load --state skipped"),
    ):
        # When one is changed from a terminal and one in a notebook
        by_terminal = done(runs[0], lambda run_id, words=words: nbflow(*words, "--run", run_id))
        by_magic = done(runs[1], lambda run_id, line=line: magic(f"{line} --run {run_id}"))
        # Then both are as the other
        assert by_terminal == by_magic
        assert by_terminal["load"] != TaskState.FAILED
