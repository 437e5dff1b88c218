"""The verbs of ``%dag`` about the tasks of a run: states, why, logs and clear. A run's handle uses them too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.command_arguments import values_of
from nbflow.commands import command_named
from nbflow.core.snapshot import Run, TaskKey
from nbflow.core.states import STATE_MEANINGS
from nbflow.errors import NbflowError
from nbflow.notebook.commands import context_of, previewed, result_of
from nbflow.notebook.displayable import Shown
from nbflow.notebook.error_display import spell, told_in_one_line
from nbflow.notebook.followed_log import followed_log
from nbflow.notebook.session import Session, session
from nbflow.ui import formatting
from nbflow.ui.html import (
    log_bundle,
    message_bundle,
    states_bundle,
    tasks_bundle,
    why_bundle,
    why_run_bundle,
)
from nbflow.views.lookups import check_task, task_key
from nbflow.views.task_instances import TaskInstancesQuery
from nbflow.views.task_log import TaskLogQuery, find_logged, has_no_logs
from nbflow.views.task_try import find_followed
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery

if TYPE_CHECKING:
    from nbflow.core.spec import DagSpec

Dag = str | DAG


def id_of(dag: Dag) -> str:
    return dag.dag_id if isinstance(dag, DAG) else dag


def message(text: str, data: Any = None, *, state: str = "") -> Shown:
    return Shown(data, message_bundle(text, state=state))


@told_in_one_line
def states(dag: Dag | None = None, *, run: str | None = None) -> Shown:
    """The task instances of a run (default: the newest); without a DAG, the meanings of the states. As a value: name ->
    row."""
    if dag is None:
        meanings = {state.value: meaning for state, meaning in STATE_MEANINGS.items()}
        return Shown(meanings, states_bundle(meanings.items()))
    here = session()
    found = here.find_run(dag, run)
    view = here.fetch(TaskInstancesQuery(dag_id=found.dag_id, run_id=found.run_id))
    return Shown({row.id: row for row in view.rows}, tasks_bundle(view, here.app.clock.now()))


@told_in_one_line
def why(dag: Dag, task: str | None = None, *, run: str | None = None) -> Shown:
    """Why the tasks of a run wait, or why one task is in its state. As a value: task -> reason."""
    here = session()
    task, run = context_of(here).task_or_run(id_of(dag), task, run)
    found = here.find_run(dag, run)
    if task is None:
        view = here.fetch(WhyRunQuery(dag_id=found.dag_id, run_id=found.run_id))
        return Shown({row.id: row.text for row in view.rows}, why_run_bundle(view, here.app.clock.now()))
    check_task(found.dag_id, task, spec_of_run(here, found).tasks)
    key = task_key(task)
    of_task = here.fetch(
        WhyTaskQuery(
            dag_id=found.dag_id,
            run_id=found.run_id,
            task_id=key.task_id,
            map_index=key.map_index if key.map_index >= 0 else None,
        )
    )
    return Shown({of_task.name: of_task.headline}, why_bundle(of_task, here.app.clock.now(), spell))


@told_in_one_line
def logs(
    dag: Dag,
    task: str | None = None,
    *,
    run: str | None = None,
    try_number: int | None = None,
    search: str = "",
    follow: bool = False,
) -> Shown:
    """The log of a task's last try (or of ``try_number``) in a run. Without ``task``: of a failed task, else of that
    which started last. ``search`` selects the lines with that text. As a value: the lines.

    ``follow`` displays the log as it grows, until the try has ended; without ``task``, that of a running task.
    """
    here = session()
    task, run = context_of(here).task_or_run(id_of(dag), task, run)
    found = here.find_run(dag, run)
    if follow and not has_no_logs(found):
        return followed_log(here, find_followed(here.app.store, found, task, try_number), search)
    key = find_logged(here.app.store, found, task)
    view = here.fetch(TaskLogQuery(**found.key._asdict(), **key._asdict(), try_number=try_number, search=search))
    return Shown([line.message for line in view.lines], log_bundle(view))


@told_in_one_line
def clear(
    dag: Dag,
    *tasks: str,
    run: str | None = None,
    upstream: bool = False,
    downstream: bool = False,
    failed: bool = False,
    newest: bool = False,
    dry_run: bool = False,
) -> Shown:
    """Clear tasks of a run so that they run again: all tasks, or those named, with their upstream or downstream tasks.
    ``failed``: only failed ones; ``newest``: with the newest version of the DAG. As a value: the cleared task
    instances."""
    here = session()
    found = here.find_run(dag, run)
    given = {
        "tasks": list(tasks),
        "run": found.run_id,
        "upstream": upstream,
        "downstream": downstream,
        "only_failed": failed,
        "newest": newest,
    }
    if dry_run:
        args = values_of(command_named("tasks clear").arguments, {**given, "dag_id": found.dag_id})
        rows = previewed(command_named("tasks clear"), args).items
        cleared = [TaskKey(row["task_id"], row["map_index"]) for row in rows]
    else:
        cleared = result_of("tasks clear", dag, **given).value
    if not cleared:
        return message(f"There is no task to clear in {found.run_id}.", cleared)
    verb = "would be cleared" if dry_run else "cleared"
    names = ", ".join(map(str, cleared))
    return message(f"{formatting.count(len(cleared), 'task')} of {found.run_id} {verb}: {names}.", cleared)


def spec_of_run(here: Session, run: Run) -> DagSpec:
    version = here.app.store.version(run.dag_id, run.version)
    if version is None:
        raise NbflowError(f"Version {run.version} of {run.dag_id}, which {run.run_id} ran with, was deleted.")
    return version.spec
