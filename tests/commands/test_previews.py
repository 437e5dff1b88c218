"""A command changes exactly what its preview shows, and destructive commands ask for confirmation."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as terminal_commands
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
    "dags delete-run": ["sales", "last"],
    "dags clear": ["sales"],
    "dags backfill": ["sales", "-s", "2024-01-01", "-e", "2024-01-03", "--reset-dagruns"],
    "db clean": ["--clean-before-timestamp", "2100-01-01"],
    "db downgrade": ["-r", "0003"],
    "db export-archived": ["--output-path", ".", "--drop-archives"],
    "db reset": [],
    "db drop-archived": [],
    "tasks clear": ["sales"],
    "tasks mark": ["sales", "load", "--state", "success"],
}
"""Commands that may ask for confirmation, and arguments for which they ask."""


@pytest.fixture
def runs(app, sales, magic) -> list[RunKey]:
    """Two failed runs of sales, and a second DAG whose id has the same prefix."""
    from dataclasses import replace

    version = app.store.version(sales)
    app.store.register(replace(version, dag_id="sales_eu"), now=app.clock.now(), paused=True)
    [dag] = load_source(version.fileloc, folder=app.settings.core.dags_folder, options=app.compile_options()).dags
    runs = [run_test(dag, logical_date=None, app=app), run_test(dag, logical_date=app.clock.now(), app=app)]
    return [run.key for run in runs]


def _preview_and_run(name: str, **arguments: Any) -> tuple[Any, Result, Values]:
    """The preview of a command, its result, and its arguments."""
    command = command_named(name)
    args = values_of(command.arguments, arguments)
    context = context_of(current_session())
    preview = command.preview(context, args)
    result = run_command(command, context, args)
    assert preview is not None
    assert result is not None
    return preview, result, args


def _states(app, runs: list[RunKey]) -> dict[Any, str]:
    tasks = {(run.run_id, ti.task_id): ti.state.value for run in runs for ti in app.store.instances(run)}
    return {**tasks, **{(run.run_id, None): app.store.run(run).state.value for run in runs}}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"only_failed": True},
        {"tasks": ["extract"], "downstream": True},
        {"task_regex": "^lo", "upstream": True},
        {"newest": True, "tasks": ["load"]},
    ],
)
def test_clear_changes_what_its_preview_shows(app, sales, runs, arguments):
    # Given failed runs
    before = _states(app, runs)
    # When tasks are cleared
    preview, result, _ = _preview_and_run("tasks clear", dag_id=sales, **arguments)
    # Then the preview, the result and the changed states are the same
    after = _states(app, runs)
    changed = {(run_id, task) for (run_id, task) in before if task and before[run_id, task] != after[run_id, task]}
    assert {(item["run_id"], item["task_id"]) for item in preview.items} == changed != set()
    assert result.rows == preview.items


@pytest.mark.parametrize(
    ("tasks", "state"),
    [
        *product((["load"], ["extract", "load"]), ("success", "failed", "skipped")),
        *product(([],), ("success", "failed")),
    ],
)
def test_mark_changes_what_its_preview_shows(app, sales, runs, tasks, state):
    # Given a run with a cleared task that has not run again
    app.operations().clear(runs[0], ["load"])
    before = _states(app, [runs[0]])
    # When tasks or the run are marked
    preview, result, _ = _preview_and_run("tasks mark", dag_id=sales, tasks=tasks, run=runs[0].run_id, state=state)
    # Then the preview, the result and the changed states are the same
    after = _states(app, [runs[0]])
    changed = {name: after[name] for name in before if before[name] != after[name]}
    assert {(item["run_id"], item.get("task_id")): item["state"] for item in preview.items} == changed
    assert result.rows == preview.items


def test_backfill_create_creates_the_runs_of_its_preview(app, sales, runs):
    # When days without runs are backfilled
    preview, result, _ = _preview_and_run("backfill create", dag_id=sales, from_date="2024-01-01", to_date="2024-01-03")
    # Then exactly the runs of the preview exist
    created = {run.run_id for run in app.store.runs(sales) if run.run_type == "backfill"}
    assert {item["run_id"] for item in preview.items} == created
    assert len(created) == 3
    assert result.rows == preview.items
    # And backfill cancel fails the runs of its preview
    cancelled, _, _ = _preview_and_run("backfill cancel", backfill_id=result.value.backfill_id)
    failed = {run.run_id for run in app.store.runs(sales, states=[RunState.FAILED]) if run.run_type == "backfill"}
    assert {item["run_id"] for item in cancelled.items} == failed == created


def test_dags_delete_deletes_the_rows_of_its_preview(app, sales, runs):
    preview, result, _ = _preview_and_run("dags delete", dag_id=sales)
    assert preview.items == result.rows == ({"dag_id": sales, "rows": result.value},)
    assert (result.value > 10, app.store.dag(sales), app.store.run(runs[0])) == (True, None, None)


@pytest.mark.parametrize("name", ["variables delete", "connections delete", "pools delete"])
def test_deleting_changes_what_the_preview_shows(nbflow, app, magic, name):
    nbflow("variables", "set", "x", "1")
    nbflow("connections", "add", "x", "--conn-type", "http")
    nbflow("pools", "set", "x", "1")
    preview, _, args = _preview_and_run(name, **{command_named(name).arguments[0].name: "x"})
    assert [item[command_named(name).arguments[0].name] for item in preview.items] == ["x"]
    # And deleting it again is an error
    with pytest.raises(NbflowError, match="x"):
        run_command(command_named(name), context_of(current_session()), args)


def test_export_writes_and_drops_the_archives_of_its_preview(nbflow, app, sales, runs, tmp_path):
    # Given an archive
    nbflow("db", "clean", "--clean-before-timestamp", "2100-01-01", "-t", "dag_run", "-y")
    # When it is exported and dropped
    preview, result, _ = _preview_and_run("db export-archived", output_path=str(tmp_path), drop_archives=True)
    # Then the files are those of the preview, and no archive is left
    assert preview.items == result.rows != ()
    assert {item["file"] for item in preview.items} == set(tmp_path.glob("*.csv"))
    assert app.store.archives() == {}


def test_reset_deletes_the_rows_that_its_preview_counts(nbflow, app, sales, runs):
    # Given DAGs and a variable
    nbflow("variables", "set", "x", "1")
    # When the metastore is reset
    preview, _, _ = _preview_and_run("db reset")
    counts = {item["table"]: item["rows"] for item in preview.items}
    # Then the preview has counted what is gone
    assert counts == {"dag": 2, "variable": 1, "connection": 0, "pool": 1}
    assert (app.store.dags(include_stale=True), list(app.store.variables())) == ([], [])


def test_previews_and_refusals_change_nothing(app, sales, runs, nbflow):
    # Given commands that change something, with their arguments
    commands: dict[str, dict[str, Any]] = {
        "dags pause": {"dag_id": sales},
        "dags unpause": {"dag_id": sales},
        "dags delete": {"dag_id": sales},
        "dags delete-run": {"dag_id": sales, "run": "last"},
        "dags clear": {"dag_id": sales},
        "tasks clear": {"dag_id": sales},
        "tasks mark": {"dag_id": sales, "state": "success"},
        "backfill create": {"dag_id": sales, "from_date": "2024-01-01"},
        "db downgrade": {"to_revision": "0003"},
        "db reset": {},
        "db export-archived": {"output_path": ".", "drop_archives": True},
        "stop": {},
    }
    before = (_states(app, runs), app.store.audit_log(), app.store.last_seq(), app.store.dag(sales))
    # When their functions are called, except run
    for name, values in commands.items():
        command = command_named(name)
        args = values_of(command.arguments, values)
        preview = command.preview(context_of(current_session()), args)
        command.refusals(context_of(current_session()), args)
        command.confirmation(context_of(current_session()), args, preview)
    # Then nothing has changed
    assert (_states(app, runs), app.store.audit_log(), app.store.last_seq(), app.store.dag(sales)) == before


# --------------------------------------------------------------------------------------------------------- confirmation


def test_the_table_of_commands_that_ask_is_complete():
    assert {command.name for command in all_commands().values() if command.may_ask} == ASK.keys()


@pytest.mark.parametrize("name", ASK)
def test_destructive_commands_ask_for_confirmation_and_have_the_option_y(nbflow, app, sales, runs, name):
    # Given data that the command would delete or change, and a stdin that is not a terminal
    nbflow("variables", "set", "x", "1")
    nbflow("db", "clean", "--clean-before-timestamp", "2100-01-01", "-t", "audit", "-y")
    nbflow("backfill", "create", "sales", "2024-01-01", "2024-01-03")
    for run in app.store.runs(sales, states=[RunState.QUEUED]):
        app.operations().mark_run(run.key, RunState.FAILED)
    result = nbflow(*name.split(), *ASK[name])
    # Then the command fails with the question
    assert (result.code, result.out) == (2, "")
    assert re.search(r"\?.* Standard input is not a terminal\. Confirm with -y\.$", result.err, re.MULTILINE)
    # And it has the option -y
    [command] = [command for command in terminal_commands(name.split()[0]) if command.name == name]
    assert "-y" in [flag for argument in command.arguments for flag in argument.flags]


def test_only_commands_that_ask_have_the_option_y():
    for group in MODULES.keys() & GROUPS.keys():
        for command in terminal_commands(group):
            has_option = "-y" in [flag for argument in command.arguments for flag in argument.flags]
            assert has_option == command.declared.may_ask, command.name


def test_clear_without_task_instances_does_not_ask(nbflow, app, sales):
    result = nbflow("tasks", "clear", sales)
    assert (result.code, result.out) == (0, "No task instance to clear.\n")


# ------------------------------------------------------------------------------------------------------------ surfaces


def test_terminal_and_magic_have_the_same_effect(nbflow, magic, app, sales, runs):
    # Given two runs with the same states
    def states_after(run: RunKey, execute: Callable[[str], Any]) -> dict[Any, str]:
        execute(run.run_id)
        return {task: state for (_, task), state in _states(app, [run]).items()}

    for words, line in (
        (["tasks", "clear", sales, "load", "-y"], f"clear {sales} load"),
        (["tasks", "mark", sales, "load", "--state", "skipped", "-y"], f"mark {sales} load --state skipped"),
    ):
        # When one run is changed in a terminal and the other in a notebook
        by_terminal = states_after(runs[0], lambda run_id, words=words: nbflow(*words, "--run", run_id))
        by_magic = states_after(runs[1], lambda run_id, line=line: magic(f"{line} --run {run_id}"))
        # Then both have the same states
        assert by_terminal == by_magic
        assert by_terminal["load"] != TaskState.FAILED
