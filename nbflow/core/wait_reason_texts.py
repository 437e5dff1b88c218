"""Texts of reasons for waiting, written from the same values as the decision to wait."""

from __future__ import annotations

from collections.abc import Mapping

from nbflow.core.snapshot import Instance, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import FAILED_STATES, FINISHED, SUCCESS_STATES, TaskState
from nbflow.core.trigger_rules import SENTENCES, Verdict
from nbflow.core.wait_reasons import WaitReason
from nbflow.suggested_commands import suggest

NAMES_SHOWN = 5
"""A sentence names at most this many tasks, to stay readable."""


def listed(names: list[str]) -> str:
    """``a, b and 3 more``."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:NAMES_SHOWN])} and {len(names) - NAMES_SHOWN} more"


def paused_wait(dag_id: str) -> WaitReason:
    """Why no task of a paused DAG starts."""
    unpause = suggest("dags unpause", dag_id)
    return WaitReason(
        kind="paused", text=f"DAG {dag_id!r} is paused. Unpause it with: {unpause}", suggestions=(unpause,)
    )


def upstream_wait(
    dag: DagSpec, task: TaskSpec, ti: Instance, states: Mapping[TaskKey, TaskState], verdict: Verdict
) -> WaitReason:
    """Why a trigger rule is not met yet: the tasks that it waits for, with their states."""
    group = dag.mapped_group[task.task_id] if ti.map_index >= 0 else None
    skipping_tasks = dag.skipping_tasks.get(task.task_id, ()) if ti.state is TaskState.NONE else ()
    relevant = {*task.upstream, *dag.setup_scope.get(task.task_id, ()), *skipping_tasks}
    waited_for: dict[str, str] = {}
    for key, state in states.items():
        if key.task_id not in relevant or (verdict is Verdict.WAIT and state in FINISHED):
            continue
        if group is not None and dag.mapped_group[key.task_id] == group and key.map_index != ti.map_index:
            continue
        waited_for[str(key)] = state.value
    rule = SENTENCES[task.trigger_rule]
    tasks = listed([f"{key} ({state})" for key, state in sorted(waited_for.items())])
    detail = {"rule": task.trigger_rule, "upstream": waited_for}
    if verdict is Verdict.STUCK:
        text = f"Trigger rule {task.trigger_rule} ({rule}) can no longer be met: {tasks}."
        return WaitReason(kind="stuck", text=text, detail=detail)
    unfinished = sorted({key.task_id for key in states if str(key) in waited_for and key.task_id in skipping_tasks})
    skips = f" The choice of {listed(unfinished)} may still skip it." if unfinished else ""
    text = f"Waits for {tasks}. Trigger rule {task.trigger_rule}: {rule}.{skips}"
    return WaitReason(kind="upstream", text=text, detail=detail)


def past_wait(snapshot: Snapshot, task: TaskSpec) -> WaitReason | None:
    """Why a task with depends_on_past or wait_for_downstream may not start, or None if it may.

    As in Airflow: the task may start in the DAG's first run, and where no earlier run has the task (unless it has
    ``ignore_first_depends_on_past=False``). ``wait_for_downstream`` checks the direct downstream tasks only.
    """
    previous = snapshot.previous
    if previous is None or not (task.depends_on_past or task.wait_for_downstream):
        return None
    if task.ignore_first_depends_on_past and task.task_id not in previous.known_tasks:
        return None
    states = previous.states.get(task.task_id, ())
    blocking = [state for state in states if state not in SUCCESS_STATES]
    if blocking or not states:
        state = blocking[0] if blocking else None
        text = (
            f"depends_on_past: the task is {state or 'missing'} in the previous run, {previous.run_id}; it must be "
            f"success or skipped there.{_clear_hint(state)}"
        )
        detail = {"run_id": previous.run_id, "states": [state.value for state in states]}
        return WaitReason(kind="past", text=text, detail=detail)
    if task.wait_for_downstream:
        for task_id in snapshot.dag.downstream[task.task_id]:
            blocking = [state for state in previous.states.get(task_id, ()) if state not in SUCCESS_STATES]
            if blocking:
                text = (
                    f"wait_for_downstream: {task_id} is {blocking[0]} in the previous run, {previous.run_id}; it must "
                    f"be success or skipped there.{_clear_hint(blocking[0])}"
                )
                detail = {"run_id": previous.run_id, "task_id": task_id}
                return WaitReason(kind="past_downstream", text=text, detail=detail)
    return None


def _clear_hint(state: TaskState | None) -> str:
    return " Clear it or mark it success in that run." if state in FAILED_STATES else ""


_LIVE = {
    TaskState.SCHEDULED: ("slot", "Ready; starts on the scheduler's next loop."),
    TaskState.QUEUED: ("executor", "Queued in the executor; about to start."),
    TaskState.RUNNING: ("running", "Running."),
    TaskState.DEFERRED: ("deferred", "Deferred: waits for its trigger in the triggerer and occupies no slot."),
    TaskState.RESTARTING: ("restarting", "Its previous attempt is being killed; then it runs again."),
}


def explain_live(ti: Instance) -> WaitReason:
    """Why an instance that is scheduled or live has not ended."""
    kind, text = _LIVE[ti.state]
    return WaitReason(kind=kind, text=text, until=ti.next_at if ti.state is TaskState.DEFERRED else None)
