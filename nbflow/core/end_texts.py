"""Why a task instance or a run is in its final state: a sentence for every cause, from the event that ended it.

The scheduler stores in the event's detail what decided the end: the trigger rule, the upstream instances that decided,
and the roots from which their states come (:meth:`nbflow.core.decide._RunPlanner`). The texts here say only what that
event says. ``TASK_ENDS`` and ``RUN_ENDS`` have a text for every cause by which an instance or a run ends; a test
compares them with the transition tables, so that a new cause needs a text here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import CAUSES, RUN_CAUSES, Cause, RunCause, RunState, TaskState
from nbflow.core.trigger_rules import SENTENCES
from nbflow.core.wait_reason_texts import NAMES_SHOWN, listed
from nbflow.suggested_commands import SuggestedCommand, suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The event that ended an instance or a run, with what a text about it may need."""

    run: RunKey
    dag: DagSpec
    key: TaskKey | None = None
    """None: the run itself."""
    state: str
    cause: str
    actor: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    """Name of an instance of the run -> the last line of its last error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndReason:
    """``text`` is the answer in one sentence; ``suggestions`` are commands that make the tasks run again."""

    text: str
    suggestions: tuple[SuggestedCommand, ...] = ()


def explain_end(end: End) -> EndReason:
    """The reason of an end. A cause of a later version of nbflow, which has no text here, is named as it is."""
    explain = RUN_ENDS.get(end.cause) if end.key is None else TASK_ENDS.get(end.cause)
    return EndReason(text=f"{end.cause}.") if explain is None else explain(end)


# ------------------------------------------------------------------------------------------------------------- remedies


def _clear(end: End, *task_ids: str) -> tuple[SuggestedCommand, ...]:
    """Commands that clear these tasks with what is downstream of them, which may have ended because of them."""
    run = ("--run", end.run.run_id)
    return tuple(
        suggest("tasks clear", end.run.dag_id, task_id, *run, "--downstream") for task_id in task_ids[:NAMES_SHOWN]
    )


def _clear_own(end: End) -> tuple[SuggestedCommand, ...]:
    return _clear(end, end.key.task_id) if end.key is not None else ()


def _clear_run(end: End) -> tuple[SuggestedCommand, ...]:
    return (suggest("tasks clear", end.run.dag_id, "--run", end.run.run_id),)


def _logs(end: End, task_id: str) -> SuggestedCommand:
    return suggest("logs", end.run.dag_id, task_id, end.run.run_id)


# ---------------------------------------------------------------------------------------------------------------- roots


def _named(end: End, states: Mapping[str, str]) -> str:
    """`` `validate` failed (AssertionError: no rows) ``"""
    return listed([_with_error(end, name, state) for name, state in states.items()])


def _with_error(end: End, name: str, state: str) -> str:
    error = end.errors.get(name, "")
    verb = _VERBS.get(state, f"is {state}")
    if state == TaskState.SUCCESS and end.state == TaskState.UPSTREAM_FAILED:  # no trigger rule fails for a success
        verb = "succeeded without a result"
    return f"`{name}` {verb}{f' ({error})' if error and state == TaskState.FAILED else ''}"


_VERBS: Mapping[str, str] = MappingProxyType(
    {
        TaskState.SUCCESS: "succeeded",
        TaskState.FAILED: "failed",
        TaskState.SKIPPED: "was skipped",
        TaskState.UPSTREAM_FAILED: "is upstream_failed",
        TaskState.REMOVED: "is no longer in the DAG",
    }
)


def _by_upstream(end: End, need: str) -> EndReason:
    """An end that upstream instances decided: the roots, what they prevent, and the way from the roots to here."""
    roots, upstream = end.detail.get("roots") or {}, end.detail.get("upstream") or {}
    if not roots:  # an event that an earlier version of nbflow stored
        return _plainly(end)
    between = [name for name in upstream if name not in roots]
    way = f" It reached this task by {listed([f'`{name}`' for name in between])}." if between else ""
    text = f"{_named(end, roots)}; {need}.{way}"
    causes_failure = end.state == TaskState.UPSTREAM_FAILED
    # A root that succeeded (without the result that this task is mapped over) does the same if it runs again.
    tasks = dict.fromkeys(name.partition("[")[0] for name, state in roots.items() if state != TaskState.SUCCESS)
    failed = [name.partition("[")[0] for name, state in roots.items() if state == TaskState.FAILED]
    logs = (_logs(end, failed[0]),) if failed and causes_failure else ()
    return EndReason(text=text, suggestions=(*logs, *(_clear(end, *tasks) if causes_failure and tasks else ())))


def _by_rule(end: End) -> EndReason:
    rule = str(end.detail.get("rule", ""))
    meaning = SENTENCES.get(rule, "")
    need = f"`{rule}` needs it: {meaning}" if meaning else "its trigger rule needs it"
    if end.state == TaskState.SKIPPED:
        need = f"trigger rule `{rule}` then skips this task: {meaning}"
    return _by_upstream(end, need)


def _by_setup(end: End) -> EndReason:
    setups = listed([f"`{task_id}`" for task_id in end.detail.get("setups") or ()])
    return _by_upstream(end, f"this task needs its setup {setups}")


def _by_length(end: End) -> EndReason:
    over = listed([f"`{task_id}`" for task_id in end.detail.get("over") or ()])
    return _by_upstream(end, f"this task is mapped over the result of {over}, which has none")


# ------------------------------------------------------------------------------------------------------- other reasons


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _plainly(end: End) -> EndReason:
    return EndReason(text=_sentence(CAUSES[Cause(end.cause)]))


def _by_actor(end: End) -> EndReason:
    text = f"{CAUSES[Cause(end.cause)]} by {who(end.actor)}"
    done_by_itself = end.state == TaskState.SUCCESS
    return EndReason(text=_sentence(text), suggestions=() if done_by_itself else _clear_own(end))


def who(actor: str) -> str:
    """An actor of the history for a sentence: "ada", "a task", "the scheduler"."""
    kind, _, name = actor.partition(":")
    if kind == "user":
        return name or "a user"
    return {"task": "a task", "scheduler": "the scheduler", "test": "a test run"}.get(actor, actor or "nbflow")


def _skipped_by_task(end: End) -> EndReason:
    by = str(end.detail.get("by") or "an upstream task")
    task = end.dag.tasks.get(by.partition("[")[0])
    operator = task.operator if task is not None else ""
    if "LatestOnly" in operator:
        return EndReason(text=f"`{by}` skipped it, because this is not the latest run ({operator}).")
    if "ShortCircuit" in operator or "short_circuit" in operator:
        return EndReason(text=f"`{by}` skipped it: its condition was false ({operator}).")
    return EndReason(text=f"`{by}` chose another branch{f' ({operator})' if operator else ''}.")


def _skipped_itself(end: End) -> EndReason:
    message = str(end.detail.get("message") or "")
    return EndReason(text=f"Its code raised AirflowSkipException{f': {message.rstrip(chr(46))}' if message else ''}.")


def _failed(end: End) -> EndReason:
    own = str(end.key) if end.key is not None else ""
    lines = str(end.detail.get("error") or "").strip().splitlines()
    error = end.errors.get(own) or (lines[-1] if lines else "")
    text = f"{_sentence(CAUSES[Cause(end.cause)])[:-1]}{f': {error.rstrip(chr(46))}' if error else ''}."
    logs = (_logs(end, end.key.task_id),) if end.key is not None else ()
    return EndReason(text=text, suggestions=(*logs, *_clear_own(end)))


def _fail_fast(end: End) -> EndReason:
    failed = str(end.detail.get("failed", ""))
    if not failed:
        return _plainly(end)
    text = f"{_with_error(end, failed, TaskState.FAILED)}, and the DAG has fail_fast=True."
    return EndReason(text=text, suggestions=_clear(end, failed.partition("[")[0], *_own(end)))


def _own(end: End) -> tuple[str, ...]:
    return (end.key.task_id,) if end.key is not None else ()


def _outside(end: End) -> EndReason:
    return EndReason(text=outside_text(end.detail) or _sentence(CAUSES[Cause.OUTSIDE_TASK_DATES]))


def outside_text(detail: Mapping[str, Any]) -> str:
    """``The logical date 2020-01-01 lies before the start_date 2024-01-01: no task of the run was to run.``; empty
    without dates. ``detail``: that of the run's end, see :func:`nbflow.core.task_dates.outside_dates`."""
    for name, side in (("start_date", "before"), ("end_date", "after")):
        if name in detail:
            date, limit = (
                str(value).removesuffix("T00:00:00+00:00") for value in (detail["logical_date"], detail[name])
            )
            return f"The logical date {date} lies {side} the {name} {limit}, so every task was skipped."
    return ""


def _with_reason(end: End) -> EndReason:
    text = CAUSES[Cause(end.cause)]
    if "reason" in end.detail:
        text = f"{text} ({end.detail['reason']})"
    elif "backfill_id" in end.detail:
        text = f"its backfill {end.detail['backfill_id']} was cancelled"
    return EndReason(text=_sentence(text), suggestions=_clear_run(end))


def _removed(end: End) -> EndReason:
    return EndReason(text="Its DAG version no longer has this task or map index; the instance is kept for its history.")


TASK_ENDS: Mapping[str, Callable[[End], EndReason]] = MappingProxyType(
    {
        Cause.SUCCEEDED: _plainly,
        Cause.NOTHING_TO_DO: _plainly,
        Cause.RULE_SKIPS: _by_rule,
        Cause.RULE_FAILS: _by_rule,
        Cause.SETUP_FAILED: _by_setup,
        Cause.SETUP_SKIPPED: _by_setup,
        Cause.BRANCH_NOT_TAKEN: _skipped_by_task,
        Cause.MAPPED_OVER_NOTHING: _plainly,
        Cause.MAPPED_OVER_FAILURE: _by_length,
        Cause.MAPPED_OVER_SKIP: _by_length,
        Cause.OUTSIDE_TASK_DATES: _outside,
        Cause.RUN_TIMED_OUT: lambda end: EndReason(text=_plainly(end).text, suggestions=_clear_run(end)),
        Cause.FAIL_FAST: _fail_fast,
        Cause.TASK_REMOVED: _removed,
        Cause.SKIPPED_ITSELF: _skipped_itself,
        Cause.RAISED: _failed,
        Cause.FAILED_HARD: _failed,
        Cause.EXECUTION_TIMEOUT: _failed,
        Cause.PROCESS_DIED: _failed,
        Cause.HEARTBEAT_LOST: _failed,
        Cause.LOAD_FAILED: _failed,
        Cause.TRIGGER_FAILED: _failed,
        Cause.TRIGGER_TIMEOUT: _failed,
        Cause.KILLED: _failed,
        Cause.MARKED_SUCCESS: _by_actor,
        Cause.MARKED_FAILED: _by_actor,
        Cause.MARKED_SKIPPED: _by_actor,
        Cause.RUN_MARKED: _by_actor,
        Cause.BACKFILL_CANCELLED: _with_reason,
        Cause.RUN_ABANDONED: _with_reason,
    }
)
"""Cause by which an instance ends -> its reason."""


def _run_failed(end: End) -> EndReason:
    failed = [str(task_id) for task_id in end.detail.get("failed") or ()]
    names = listed([f"`{task_id}`" for task_id in failed])
    text = f"Leaf tasks of the run failed: {names}." if failed else _sentence(RUN_CAUSES[RunCause.TASK_FAILED])
    clear = suggest("tasks clear", end.run.dag_id, "--run", end.run.run_id, "--only-failed")
    return EndReason(text=text, suggestions=(clear,))


def _deadlocked(end: End) -> EndReason:
    stuck = listed([f"`{name}`" for name in end.detail.get("never_to_run") or ()])
    text = _sentence(RUN_CAUSES[RunCause.DEADLOCKED])
    return EndReason(text=f"{text[:-1]}: {stuck}." if stuck else text, suggestions=_clear_run(end))


def _run_plainly(end: End) -> EndReason:
    return EndReason(text=_sentence(RUN_CAUSES[RunCause(end.cause)]))


def _run_timed_out(end: End) -> EndReason:
    seconds = end.detail.get("dagrun_timeout")
    text = RUN_CAUSES[RunCause.TIMED_OUT] + (f" of {seconds:g} s" if isinstance(seconds, int | float) else "")
    return EndReason(text=_sentence(text), suggestions=_clear_run(end))


def _run_by_actor(end: End) -> EndReason:
    text = f"{RUN_CAUSES[RunCause(end.cause)]} by {who(end.actor)}"
    return EndReason(text=_sentence(text), suggestions=_clear_run(end) if end.state == RunState.FAILED else ())


def _run_with_reason(end: End) -> EndReason:
    text = RUN_CAUSES[RunCause(end.cause)]
    if "reason" in end.detail:
        text = f"{text} ({end.detail['reason']})"
    return EndReason(text=_sentence(text), suggestions=_clear_run(end))


def _run_outside_dates(end: End) -> EndReason:
    return EndReason(text=outside_text(end.detail) or _sentence(RUN_CAUSES[RunCause.OUTSIDE_DATES]))


RUN_ENDS: Mapping[str, Callable[[End], EndReason]] = MappingProxyType(
    {
        RunCause.ALL_TASKS_DONE: _run_plainly,
        RunCause.OUTSIDE_DATES: _run_outside_dates,
        RunCause.TASK_FAILED: _run_failed,
        RunCause.DEADLOCKED: _deadlocked,
        RunCause.TIMED_OUT: _run_timed_out,
        RunCause.MARKED_SUCCESS: _run_by_actor,
        RunCause.MARKED_FAILED: _run_by_actor,
        RunCause.BACKFILL_CANCELLED: _run_with_reason,
        RunCause.ABANDONED: _run_with_reason,
    }
)
"""Cause by which a run ends -> its reason."""
