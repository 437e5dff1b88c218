"""States, causes, and the table of transitions between states.

Theory
------
A task instance is in one of thirteen states, a run in one of four. Only a *move* changes a state: a triple (from,
cause, to) that is listed in :data:`TRANSITIONS` (tasks) or :data:`RUN_TRANSITIONS` (runs). The store refuses every
other move, the simulator checks after each step that none occurred, and the README's diagram, the lifecycle widget and
the quiz's answer key are generated from these tables. A new behaviour starts here: name its cause and add its
transitions; the tests of the partition then name the code that must handle it.

A *cause* explains a transition; ``CAUSES`` holds its text for users. The *actor* (the scheduler, a user's name, a
worker) is not part of the cause but of the stored event.

Names follow Airflow's ``TaskInstanceState`` and ``DagRunState``. ``OLD_STATES`` explains states of older Airflow
versions that nbflow does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class TaskState(StrEnum):
    """State of one task instance. ``NONE`` is Airflow's ``None``: not decided yet, or waiting."""

    NONE = "none"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    UP_FOR_RETRY = "up_for_retry"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    DEFERRED = "deferred"
    RESTARTING = "restarting"
    REMOVED = "removed"


class RunState(StrEnum):
    """State of one DAG run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


S = TaskState

# The partition of TaskState: each state is in exactly one of these three (tested).
FINISHED = frozenset({S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.REMOVED})
"""No transition without a user or a new DAG version."""
LIVE = frozenset({S.QUEUED, S.RUNNING, S.DEFERRED, S.RESTARTING})
"""An attempt exists: an executor, a worker or the triggerer holds this instance."""
PENDING = frozenset({S.NONE, S.SCHEDULED, S.UP_FOR_RETRY, S.UP_FOR_RESCHEDULE})
"""The scheduler decides next: the instance waits for its trigger rule, a time or a slot."""

OCCUPYING = frozenset({S.QUEUED, S.RUNNING, S.RESTARTING})
"""States that occupy an executor slot and pool slots, and count under the concurrency limits."""

UNFINISHED = LIVE | PENDING
FAILED_STATES = frozenset({S.FAILED, S.UPSTREAM_FAILED})
SUCCESS_STATES = frozenset({S.SUCCESS, S.SKIPPED})

RUN_FINISHED = frozenset({RunState.SUCCESS, RunState.FAILED})

STATE_MEANINGS: Mapping[TaskState, str] = MappingProxyType(
    {
        S.NONE: "Not scheduled yet, or waiting for upstream tasks.",
        S.SCHEDULED: "Dependencies are met; waiting for a slot.",
        S.QUEUED: "Has a slot; about to start.",
        S.RUNNING: "A worker executes its code.",
        S.SUCCESS: "Succeeded.",
        S.FAILED: "Failed; will not be retried.",
        S.SKIPPED: "Skipped, for example by a branch, a short circuit or its trigger rule.",
        S.UPSTREAM_FAILED: "An upstream task that it needs failed.",
        S.UP_FOR_RETRY: "Failed; will be retried.",
        S.UP_FOR_RESCHEDULE: "A sensor between two pokes; it occupies no slot.",
        S.DEFERRED: "Waiting in the triggerer; it occupies no executor slot.",
        S.RESTARTING: "Cleared while running, or its scheduler stopped; will run again.",
        S.REMOVED: "No longer in the DAG.",
    }
)
"""What each state means, in one sentence: ``%dag states``, the README, the commands' help, the legend of live graphs
and the options of quizzes show these."""

OLD_STATES: Mapping[str, str] = MappingProxyType(
    {
        "shutdown": "a running task that a user killed; today the kill ends it as failed, or as restarting when it "
        "was cleared",
        "sensing": "a sensor held by the smart sensor service of Airflow 2.0-2.3; today: deferred",
    }
)


class Cause(StrEnum):
    """Why a task instance changed its state."""

    # decided by the scheduler from the graph
    DEPENDENCIES_MET = "dependencies_met"
    RULE_SKIPS = "rule_skips"
    RULE_FAILS = "rule_fails"
    SETUP_FAILED = "setup_failed"
    SETUP_SKIPPED = "setup_skipped"
    BRANCH_NOT_TAKEN = "branch_not_taken"
    MAPPED_OVER_NOTHING = "mapped_over_nothing"
    MAPPED_OVER_FAILURE = "mapped_over_failure"
    MAPPED_OVER_SKIP = "mapped_over_skip"
    OUTSIDE_TASK_DATES = "outside_task_dates"
    NOTHING_TO_DO = "nothing_to_do"
    RETRY_DUE = "retry_due"
    RESCHEDULE_DUE = "reschedule_due"
    RUN_TIMED_OUT = "run_timed_out"
    FAIL_FAST = "fail_fast"
    TASK_REMOVED = "task_removed"
    TASK_RESTORED = "task_restored"
    # dispatch and its failures
    DISPATCHED = "dispatched"
    STARTED = "started"
    DISPATCH_LOST = "dispatch_lost"
    SCHEDULER_STOPPED = "scheduler_stopped"
    # outcomes of an attempt
    SUCCEEDED = "succeeded"
    SKIPPED_ITSELF = "skipped_itself"
    RAISED = "raised"
    FAILED_HARD = "failed_hard"
    EXECUTION_TIMEOUT = "execution_timeout"
    PROCESS_DIED = "process_died"
    HEARTBEAT_LOST = "heartbeat_lost"
    LOAD_FAILED = "load_failed"
    RESCHEDULED = "rescheduled"
    DEFERRED = "deferred"
    TRIGGER_FIRED = "trigger_fired"
    TRIGGER_FAILED = "trigger_failed"
    TRIGGER_TIMEOUT = "trigger_timeout"
    # requested by a user, or by a task (TriggerDagRunOperator): the actor of the event names who
    CLEARED = "cleared"
    CLEARED_WHILE_LIVE = "cleared_while_live"
    KILLED_TO_RESTART = "killed_to_restart"
    MARKED_SUCCESS = "marked_success"
    MARKED_FAILED = "marked_failed"
    MARKED_SKIPPED = "marked_skipped"
    RUN_MARKED = "run_marked"
    KILLED = "killed"
    BACKFILL_CANCELLED = "backfill_cancelled"
    RUN_ABANDONED = "run_abandoned"


C = Cause

CAUSES: Mapping[Cause, str] = MappingProxyType(
    {
        C.DEPENDENCIES_MET: "its trigger rule is met",
        C.RULE_SKIPS: "its trigger rule skips it",
        C.RULE_FAILS: "its trigger rule can no longer be met",
        C.SETUP_FAILED: "a setup that it needs failed",
        C.SETUP_SKIPPED: "a setup that it needs was skipped",
        C.BRANCH_NOT_TAKEN: "an upstream task chose another branch",
        C.MAPPED_OVER_NOTHING: "it is mapped over an empty list",
        C.MAPPED_OVER_FAILURE: "the task it is mapped over returned no list",
        C.MAPPED_OVER_SKIP: "the task it is mapped over was skipped, or is no longer in the DAG",
        C.OUTSIDE_TASK_DATES: "the logical date is outside the task's start_date and end_date",
        C.NOTHING_TO_DO: "it has no code to run, so it needs no process",
        C.RETRY_DUE: "its retry delay is over",
        C.RESCHEDULE_DUE: "its next check is due",
        C.RUN_TIMED_OUT: "its run exceeded dagrun_timeout",
        C.FAIL_FAST: "another task failed and the DAG has fail_fast=True",
        C.TASK_REMOVED: "the DAG no longer has this task or map index",
        C.TASK_RESTORED: "the DAG has this task again",
        C.DISPATCHED: "a slot was free",
        C.STARTED: "a worker started it",
        C.DISPATCH_LOST: "the executor never started it",
        C.SCHEDULER_STOPPED: "the scheduler that ran it was stopped",
        C.SUCCEEDED: "its code returned",
        C.SKIPPED_ITSELF: "its code raised AirflowSkipException",
        C.RAISED: "its code raised",
        C.FAILED_HARD: "its code raised AirflowFailException: no retry",
        C.EXECUTION_TIMEOUT: "it exceeded its execution_timeout",
        C.PROCESS_DIED: "its process died",
        C.HEARTBEAT_LOST: "the heartbeat of its worker was lost",
        C.LOAD_FAILED: "its DAG version could not be loaded, or its log not opened",
        C.RESCHEDULED: "its condition was not met: it was rescheduled",
        C.DEFERRED: "it was deferred to the triggerer",
        C.TRIGGER_FIRED: "its trigger fired",
        C.TRIGGER_FAILED: "its trigger raised",
        C.TRIGGER_TIMEOUT: "its trigger timed out",
        C.CLEARED: "it was cleared",
        C.CLEARED_WHILE_LIVE: "it was cleared while it ran",
        C.KILLED_TO_RESTART: "it was killed to run again",
        C.MARKED_SUCCESS: "it was marked success",
        C.MARKED_FAILED: "it was marked failed",
        C.MARKED_SKIPPED: "it was marked skipped",
        C.RUN_MARKED: "its run was marked",
        C.KILLED: "it was stopped",
        C.BACKFILL_CANCELLED: "its backfill was cancelled",
        C.RUN_ABANDONED: "the process that drove its run stopped before the run had ended",
    }
)

_OUTCOME_FAILURES = (
    C.RAISED,
    C.EXECUTION_TIMEOUT,
    C.PROCESS_DIED,
    C.HEARTBEAT_LOST,
    C.LOAD_FAILED,
    C.TRIGGER_FAILED,
    C.TRIGGER_TIMEOUT,
    C.KILLED,
)


def _table() -> dict[TaskState, dict[Cause, frozenset[TaskState]]]:
    table: dict[TaskState, dict[Cause, set[TaskState]]] = {state: {} for state in TaskState}

    def arrow(sources: frozenset[TaskState] | set[TaskState], cause: Cause, *targets: TaskState) -> None:
        for source in sources:
            table[source].setdefault(cause, set()).update(targets)

    undecided = {S.NONE, S.SCHEDULED, S.UP_FOR_RETRY, S.UP_FOR_RESCHEDULE}
    arrow({S.NONE}, C.DEPENDENCIES_MET, S.SCHEDULED)
    arrow(undecided, C.RULE_SKIPS, S.SKIPPED)
    arrow(undecided, C.RULE_FAILS, S.UPSTREAM_FAILED)
    arrow(undecided, C.SETUP_FAILED, S.UPSTREAM_FAILED)
    arrow(undecided, C.SETUP_SKIPPED, S.SKIPPED)
    arrow(undecided, C.BRANCH_NOT_TAKEN, S.SKIPPED)
    arrow({S.NONE}, C.MAPPED_OVER_NOTHING, S.SKIPPED)
    arrow({S.NONE}, C.MAPPED_OVER_FAILURE, S.UPSTREAM_FAILED)
    arrow({S.NONE}, C.MAPPED_OVER_SKIP, S.SKIPPED)
    arrow({S.NONE}, C.OUTSIDE_TASK_DATES, S.SKIPPED)
    arrow({S.SCHEDULED}, C.NOTHING_TO_DO, S.SUCCESS)
    arrow({S.UP_FOR_RETRY}, C.RETRY_DUE, S.SCHEDULED)
    arrow({S.UP_FOR_RESCHEDULE}, C.RESCHEDULE_DUE, S.SCHEDULED)

    arrow({S.SCHEDULED}, C.DISPATCHED, S.QUEUED)
    arrow({S.QUEUED}, C.STARTED, S.RUNNING)
    arrow({S.QUEUED}, C.DISPATCH_LOST, S.SCHEDULED)
    arrow({S.QUEUED, S.RUNNING}, C.SCHEDULER_STOPPED, S.RESTARTING)

    # An outcome may arrive before the report of its start, and implies it.
    working = {S.QUEUED, S.RUNNING}
    arrow(working, C.SUCCEEDED, S.SUCCESS)
    arrow(working, C.SKIPPED_ITSELF, S.SKIPPED)
    arrow(working, C.FAILED_HARD, S.FAILED)
    arrow(working, C.RESCHEDULED, S.UP_FOR_RESCHEDULE)
    arrow(working, C.DEFERRED, S.DEFERRED)
    for cause in _OUTCOME_FAILURES:
        arrow({S.QUEUED, S.RUNNING, S.DEFERRED}, cause, S.FAILED, S.UP_FOR_RETRY)
    arrow({S.DEFERRED}, C.TRIGGER_FIRED, S.SCHEDULED)

    # The cleared instance runs again, whatever outcome the killed attempt reports.
    arrow({S.RESTARTING}, C.KILLED_TO_RESTART, S.NONE)

    arrow(UNFINISHED, C.RUN_TIMED_OUT, S.SKIPPED)
    arrow(UNFINISHED - {S.RUNNING}, C.FAIL_FAST, S.SKIPPED)
    arrow({S.RUNNING}, C.FAIL_FAST, S.FAILED)
    arrow(PENDING | LIVE | FINISHED - {S.REMOVED}, C.TASK_REMOVED, S.REMOVED)
    arrow({S.REMOVED}, C.TASK_RESTORED, S.NONE)

    arrow(PENDING | FINISHED, C.CLEARED, S.NONE)
    arrow(LIVE, C.CLEARED_WHILE_LIVE, S.RESTARTING)
    arrow({S.DEFERRED}, C.CLEARED, S.NONE)
    for cause, target in (
        (C.MARKED_SUCCESS, S.SUCCESS),
        (C.MARKED_FAILED, S.FAILED),
        (C.MARKED_SKIPPED, S.SKIPPED),
    ):
        arrow(set(TaskState) - {target, S.REMOVED}, cause, target)
    arrow(UNFINISHED | FAILED_STATES, C.RUN_MARKED, S.SUCCESS)
    for cause in (C.RUN_MARKED, C.RUN_ABANDONED, C.BACKFILL_CANCELLED):
        arrow(LIVE, cause, S.FAILED)
        arrow(PENDING, cause, S.SKIPPED)
    return {state: {cause: frozenset(to) for cause, to in row.items()} for state, row in table.items()}


TRANSITIONS: Mapping[TaskState, Mapping[Cause, frozenset[TaskState]]] = MappingProxyType(_table())
"""state -> cause -> next states. There are two next states only if the number of remaining retries decides,
or if a run was marked: success or failed."""


class RunCause(StrEnum):
    """Why a run changed its state."""

    CREATED = "created"
    SLOT_FREE = "slot_free"
    ALL_TASKS_DONE = "all_tasks_done"
    TASK_FAILED = "task_failed"
    DEADLOCKED = "deadlocked"
    TIMED_OUT = "timed_out"
    CLEARED = "cleared"
    MARKED_SUCCESS = "marked_success"
    MARKED_FAILED = "marked_failed"
    REQUEUED = "requeued"
    GAVE_WAY = "gave_way"
    OUTSIDE_DATES = "outside_dates"
    BACKFILL_CANCELLED = "backfill_cancelled"
    ABANDONED = "abandoned"


RUN_CAUSES: Mapping[RunCause, str] = MappingProxyType(
    {
        RunCause.CREATED: "it was created",
        RunCause.SLOT_FREE: "max_active_runs allowed it",
        RunCause.ALL_TASKS_DONE: "every leaf task succeeded or was skipped",
        RunCause.TASK_FAILED: "a leaf task failed",
        RunCause.DEADLOCKED: "unfinished tasks remain that can never start",
        RunCause.TIMED_OUT: "it exceeded dagrun_timeout",
        RunCause.CLEARED: "tasks of the run were cleared",
        RunCause.MARKED_SUCCESS: "it was marked success",
        RunCause.MARKED_FAILED: "it was marked failed",
        RunCause.REQUEUED: "it was queued again",
        RunCause.OUTSIDE_DATES: "its logical date is outside the start_date and end_date of every task",
        RunCause.BACKFILL_CANCELLED: "its backfill was cancelled",
        RunCause.ABANDONED: "the process that drove it stopped before it had ended",
        RunCause.GAVE_WAY: "its tasks wait for an earlier run, which needed its place under max_active_runs",
    }
)

R = RunState
_ENDED = (R.SUCCESS, R.FAILED)

RUN_TRANSITIONS: Mapping[RunState, Mapping[RunCause, frozenset[RunState]]] = MappingProxyType(
    {
        R.QUEUED: {
            RunCause.SLOT_FREE: frozenset({R.RUNNING}),
            RunCause.MARKED_SUCCESS: frozenset({R.SUCCESS}),
            RunCause.MARKED_FAILED: frozenset({R.FAILED}),
            RunCause.BACKFILL_CANCELLED: frozenset({R.FAILED}),
            RunCause.ABANDONED: frozenset({R.FAILED}),
        },
        R.RUNNING: {
            RunCause.ALL_TASKS_DONE: frozenset({R.SUCCESS}),
            RunCause.OUTSIDE_DATES: frozenset({R.SUCCESS}),
            RunCause.BACKFILL_CANCELLED: frozenset({R.FAILED}),
            RunCause.ABANDONED: frozenset({R.FAILED}),
            RunCause.TASK_FAILED: frozenset({R.FAILED}),
            RunCause.DEADLOCKED: frozenset({R.FAILED}),
            RunCause.TIMED_OUT: frozenset({R.FAILED}),
            RunCause.MARKED_SUCCESS: frozenset({R.SUCCESS}),
            RunCause.MARKED_FAILED: frozenset({R.FAILED}),
            RunCause.CLEARED: frozenset({R.QUEUED}),
            RunCause.GAVE_WAY: frozenset({R.QUEUED}),
        },
        R.SUCCESS: {
            RunCause.CLEARED: frozenset({R.QUEUED}),
            RunCause.REQUEUED: frozenset({R.QUEUED}),
            RunCause.MARKED_FAILED: frozenset({R.FAILED}),
        },
        R.FAILED: {
            RunCause.CLEARED: frozenset({R.QUEUED}),
            RunCause.REQUEUED: frozenset({R.QUEUED}),
            RunCause.MARKED_SUCCESS: frozenset({R.SUCCESS}),
        },
    }
)


class IllegalTransition(ValueError):
    """A move that is not in the table: an internal error of nbflow, never a mistake in a DAG. Nothing was changed."""


def check_move(source: TaskState, cause: Cause, target: TaskState) -> None:
    """Raise :class:`IllegalTransition` unless :data:`TRANSITIONS` has ``source --cause--> target``."""
    if target not in TRANSITIONS[source].get(cause, ()):
        causes = ", ".join(sorted(c.value for c in TRANSITIONS[source]))
        raise IllegalTransition(f"{source} may not become {target} by {cause}; from {source} the causes are: {causes}")


def check_run_move(source: RunState, cause: RunCause, target: RunState) -> None:
    """Raise :class:`IllegalTransition` unless :data:`RUN_TRANSITIONS` has ``source --cause--> target``."""
    if target not in RUN_TRANSITIONS[source].get(cause, ()):
        causes = ", ".join(sorted(c.value for c in RUN_TRANSITIONS[source]))
        raise IllegalTransition(f"a {source} run may not become {target} by {cause}; from {source}: {causes}")


def mermaid() -> str:
    """The task states as a Mermaid state diagram: one arrow for each pair of states, without user actions."""
    by_user = {C.CLEARED, C.CLEARED_WHILE_LIVE, C.MARKED_SUCCESS, C.MARKED_FAILED, C.MARKED_SKIPPED}
    whole_run = {C.RUN_TIMED_OUT, C.FAIL_FAST, C.RUN_MARKED, C.RUN_ABANDONED, C.BACKFILL_CANCELLED}
    from_any_state = {C.TASK_REMOVED, C.TASK_RESTORED}  # drawn only at the state none
    pairs: dict[tuple[TaskState, TaskState], list[Cause]] = {}
    for source, row in TRANSITIONS.items():
        for cause, targets in row.items():
            if cause in by_user or cause in whole_run:
                continue
            if cause in from_any_state and S.NONE not in {source, *targets}:
                continue
            for target in sorted(targets):
                pairs.setdefault((source, target), []).append(cause)
    lines = ["stateDiagram-v2", "    [*] --> none"]
    for (source, target), causes in pairs.items():
        shown = [c.value for c in causes[:3]] + (["…"] if len(causes) > 3 else [])
        lines.append(f"    {source} --> {target}: {', '.join(shown)}")
    return "\n".join(lines)
