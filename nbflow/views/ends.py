"""Why runs and their task instances have ended, from the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbflow.core.end_texts import End, EndReason, explain_end, outside_text
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import FINISHED, RUN_FINISHED, RunState
from nbflow.core.task_dates import outside_dates
from nbflow.store.base import Store, TaskEvent

PAGE = 10_000


def last_events(store: Store, run: RunKey) -> dict[TaskKey | None, TaskEvent]:
    """The newest event of each task instance of a run, and of the run itself under None."""
    newest: dict[TaskKey | None, TaskEvent] = {}
    after = 0
    while True:
        events = store.events(run=run, after=after, limit=PAGE)
        newest |= {event.key: event for event in events}
        if len(events) < PAGE:
            return newest
        after = events[-1].seq


def end_reason(dag: DagSpec, event: TaskEvent, errors: Mapping[TaskKey, str]) -> EndReason:
    """The reason of an event that ended a task instance or a run."""
    return explain_end(
        End(
            run=event.run,
            dag=dag,
            key=event.key,
            state=event.target,
            cause=event.cause,
            actor=event.actor,
            detail=event.detail,
            errors={str(key): error for key, error in errors.items()},
        )
    )


def end_reasons(
    dag: DagSpec,
    run: Run,
    tis: Sequence[Instance],
    events: Mapping[TaskKey | None, TaskEvent],
    errors: Mapping[TaskKey, str],
) -> dict[TaskKey | None, EndReason]:
    """The reasons of all ended instances of a run, and of the run itself, if it has ended, under None."""
    ended: list[TaskKey | None] = [ti.key for ti in tis if ti.state in FINISHED]
    ended += [None] if run.state in RUN_FINISHED else []
    return {key: end_reason(dag, events[key], errors) for key in ended if key in events}


def may_have_dates_note(run: Run) -> bool:
    """Whether a run has succeeded in the scheduler loop that started it."""
    return run.state is RunState.SUCCESS and run.start_date == run.end_date


def dates_note(dag: DagSpec, run: Run) -> str:
    """The reason why a run has ended at once, if its logical date lies outside the dates of all its tasks; else ""."""
    return outside_text(outside_dates(dag, run.logical_date)) if may_have_dates_note(run) else ""
