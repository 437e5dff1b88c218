"""The verbs of ``%dag`` about the tasks of a run: states, why, logs and clear. ``RunHandle`` uses them too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.command_arguments import values_of
from nbflow.commands import command_named
from nbflow.core.snapshot import Run, TaskKey
from nbflow.core.states import STATE_MEANINGS
from nbflow.errors import NbflowError
from nbflow.notebook.commands import context_of, execute_by_name, preview_command
from nbflow.notebook.displayable import Shown
from nbflow.notebook.error_display import one_line_errors, spell
from nbflow.notebook.followed_log import followed_log
from nbflow.notebook.session import Session, current_session, dag_id_of
from nbflow.ui import formatting
from nbflow.ui.view_bundles import (
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


def message(text: str, data: Any = None, *, state: str = "") -> Shown:
    return Shown(data, message_bundle(text, state=state))


@one_line_errors
def states(dag: Dag | None = None, *, run: str | None = None) -> Shown:
    """The task instances of a run (default: the newest), or without a DAG, the meanings of the states. As a value:
    task instance -> row, or state -> meaning."""
    if dag is None:
        meanings = {state.value: meaning for state, meaning in STATE_MEANINGS.items()}
        return Shown(meanings, states_bundle(meanings.items()))
    session = current_session()
    dag_run = session.find_run(dag, run)
    view = session.fetch(TaskInstancesQuery(dag_id=dag_run.dag_id, run_id=dag_run.run_id))
    return Shown({row.id: row for row in view.rows}, tasks_bundle(view, session.app.clock.now()))


@one_line_errors
def why(dag: Dag, task: str | None = None, *, run: str | None = None) -> Shown:
    """Why the tasks of a run wait, or why one task is in its state. As a value: task -> reason."""
    session = current_session()
    task, run = context_of(session).task_or_run(dag_id_of(dag), task, run)
    dag_run = session.find_run(dag, run)
    if task is None:
        view = session.fetch(WhyRunQuery(dag_id=dag_run.dag_id, run_id=dag_run.run_id))
        return Shown({row.id: row.text for row in view.rows}, why_run_bundle(view, session.app.clock.now(), spell))
    check_task(dag_run.dag_id, task, spec_of_run(session, dag_run).tasks)
    key = task_key(task)
    task_view = session.fetch(
        WhyTaskQuery(
            dag_id=dag_run.dag_id,
            run_id=dag_run.run_id,
            task_id=key.task_id,
            map_index=key.map_index if key.map_index >= 0 else None,
        )
    )
    return Shown({task_view.name: task_view.headline}, why_bundle(task_view, session.app.clock.now(), spell))


@one_line_errors
def logs(
    dag: Dag,
    task: str | None = None,
    *,
    run: str | None = None,
    try_number: int | None = None,
    search: str = "",
    follow: bool = False,
) -> Shown:
    """The log of a task's last try (or of ``try_number``) in a run. Without ``task``: the log of the last failed task,
    otherwise of the task that started last. ``search`` selects the lines that contain the text. As a value: the lines.

    ``follow`` displays the log as it grows, until the try has ended; without ``task``, the log of a running task.
    """
    session = current_session()
    task, run = context_of(session).task_or_run(dag_id_of(dag), task, run)
    dag_run = session.find_run(dag, run)
    if follow and not has_no_logs(dag_run):
        return followed_log(session, find_followed(session.app.store, dag_run, task, try_number), search)
    key = find_logged(session.app.store, dag_run, task)
    view = session.fetch(TaskLogQuery(**dag_run.key._asdict(), **key._asdict(), try_number=try_number, search=search))
    return Shown([line.message for line in view.lines], log_bundle(view))


@one_line_errors
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
    """Clear tasks of a run so that they run again: all tasks, or ``tasks`` with their upstream or downstream tasks.
    ``failed``: only failed tasks; ``newest``: run them with the newest version of the DAG. As a value: the cleared task
    instances."""
    session = current_session()
    dag_run = session.find_run(dag, run)
    arguments = {
        "tasks": list(tasks),
        "run": dag_run.run_id,
        "upstream": upstream,
        "downstream": downstream,
        "only_failed": failed,
        "newest": newest,
    }
    if dry_run:
        args = values_of(command_named("tasks clear").arguments, {**arguments, "dag_id": dag_run.dag_id})
        rows = preview_command(command_named("tasks clear"), args).items
        cleared = [TaskKey(row["task_id"], row["map_index"]) for row in rows]
    else:
        cleared = execute_by_name("tasks clear", dag, **arguments).value
    if not cleared:
        return message(f"Run {dag_run.run_id} has no task to clear.", cleared)
    verb = "would be cleared" if dry_run else "cleared"
    names = ", ".join(map(str, cleared))
    return message(f"{formatting.count(len(cleared), 'task')} of {dag_run.run_id} {verb}: {names}.", cleared)


def spec_of_run(session: Session, run: Run) -> DagSpec:
    version = session.app.store.version(run.dag_id, run.version)
    if version is None:
        raise NbflowError(f"Version {run.version} of {run.dag_id}, with which {run.run_id} ran, was deleted.")
    return version.spec
