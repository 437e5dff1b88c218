"""Sentences for what waits. Each is made from the very values that the decision was made from."""

from __future__ import annotations

from collections.abc import Mapping

from nbflow.core.reasons import WaitReason
from nbflow.core.snapshot import Instance, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import FINISHED, SUCCESS_STATES, TaskState
from nbflow.core.trigger_rules import SENTENCES, Verdict

NAMES_SHOWN = 5
"""A sentence with more names than this is no longer read."""


def listed(names: list[str]) -> str:
    """``a, b and 3 more``."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:NAMES_SHOWN])} and {len(names) - NAMES_SHOWN} more"


def paused_wait(dag_id: str) -> WaitReason:
    """Why nothing of a paused DAG goes on."""
    return WaitReason(kind="paused", text=f"DAG {dag_id} is paused. Go on with: nbflow dags unpause {dag_id}")


def upstream_wait(
    dag: DagSpec, task: TaskSpec, one: Instance, states: Mapping[TaskKey, TaskState], said: Verdict
) -> WaitReason:
    """Why a trigger rule is not met yet: the tasks that it still looks to, with their states."""
    group = dag.mapped_group[task.task_id] if one.map_index >= 0 else None
    deciders = dag.steered_by.get(task.task_id, ()) if one.state is TaskState.NONE else ()
    looked_at = {*task.upstream, *dag.setup_scope.get(task.task_id, ()), *deciders}
    before: dict[str, str] = {}
    for key, state in states.items():
        if key.task_id not in looked_at or (said is Verdict.WAIT and state in FINISHED):
            continue
        if group is not None and dag.mapped_group[key.task_id] == group and key.map_index != one.map_index:
            continue
        before[str(key)] = state.value
    rule = SENTENCES[task.trigger_rule]
    shown = listed([f"{key} ({state})" for key, state in sorted(before.items())])
    detail = {"rule": task.trigger_rule, "upstream": before}
    if said is Verdict.STUCK:
        text = f"Trigger rule {task.trigger_rule} ({rule}) can no longer be met: {shown}."
        return WaitReason(kind="stuck", text=text, detail=detail)
    choosing = sorted({key.task_id for key in states if str(key) in before and key.task_id in deciders})
    skips = f" What {listed(choosing)} chooses may still skip it." if choosing else ""
    return WaitReason(kind="upstream", text=f"Waits for {shown}; {task.trigger_rule}: {rule}.{skips}", detail=detail)


def past_wait(snapshot: Snapshot, task: TaskSpec) -> WaitReason | None:
    """Why a task that depends on its past may not start, or None if its past allows it.

    As in Airflow: the first run is free, and so is a task that no earlier run had (unless it says
    ``ignore_first_depends_on_past=False``). ``wait_for_downstream`` looks at the direct downstream tasks only.
    """
    previous = snapshot.previous
    if previous is None or not (task.depends_on_past or task.wait_for_downstream):
        return None
    if task.ignore_first_depends_on_past and task.task_id not in previous.ever:
        return None
    before = previous.states.get(task.task_id, ())
    bad = [state for state in before if state not in SUCCESS_STATES]
    if bad or not before:
        seen = bad[0].value if bad else "not there"
        text = f"depends_on_past: in run {previous.run_id} the task is {seen}; it must be success or skipped."
        return WaitReason(
            kind="past", text=text, detail={"run_id": previous.run_id, "states": [s.value for s in before]}
        )
    if task.wait_for_downstream:
        for down in snapshot.dag.downstream[task.task_id]:
            late = [state for state in previous.states.get(down, ()) if state not in SUCCESS_STATES]
            if late:
                text = (
                    f"wait_for_downstream: in run {previous.run_id} {down} is {late[0].value}, not success or skipped."
                )
                return WaitReason(
                    kind="past_downstream", text=text, detail={"run_id": previous.run_id, "task_id": down}
                )
    return None


_LIVE = {
    TaskState.SCHEDULED: ("slot", "Waits for a slot: nothing else keeps it."),
    TaskState.QUEUED: ("executor", "Is with the executor and about to start."),
    TaskState.RUNNING: ("running", "Is running."),
    TaskState.DEFERRED: ("deferred", "Waits in the triggerer; it takes no slot."),
    TaskState.RESTARTING: ("restarting", "Its old attempt is being ended; then it starts over."),
}


def explain_live(one: Instance) -> WaitReason:
    """Why an instance that is out of the scheduler's hands has not ended."""
    kind, text = _LIVE[one.state]
    return WaitReason(kind=kind, text=text, until=one.next_at if one.state is TaskState.DEFERRED else None)
