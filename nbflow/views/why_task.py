"""Why a task instance is in its state: the headline, its grounds, the commands that change it, and its history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from nbflow.core.snapshot import Instance, Run, TaskKey
from nbflow.core.states import FINISHED
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.errors import TaskInstanceNotFound
from nbflow.services.runs_set_aside import runs_set_aside
from nbflow.services.schedulers import running_schedulers
from nbflow.services.why import explain_task
from nbflow.store.base import Store
from nbflow.suggested_commands import SuggestedCommand, respelled
from nbflow.views.base import Query, View
from nbflow.views.ends import end_reason
from nbflow.views.lookups import row_of, run_of, version_of
from nbflow.views.shared import EventRow, event_rows, in_zone, run_title, zone_of
from nbflow.views.why_run import last_errors

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec

HISTORY = 20
"""Number of events shown, the newest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyTaskQuery(Query["WhyTaskView"]):
    """Without ``map_index``: for a mapped task, its first unfinished instance, otherwise its first instance."""

    NAME: ClassVar[str] = "why_task"
    SELF_CONTAINED: ClassVar[bool] = False  # a task of another DAG may occupy the pool slot that this one waits for

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyTaskView(View):
    """``headline`` is the answer in one sentence, ``grounds`` are its details, ``suggestions`` are commands that help.
    ``kind`` is the kind of the wait, ``until`` the time at which it ends without a command."""

    NAME: ClassVar[str] = "why_task"

    task_id: str = ""
    map_index: int = -1
    subject: str
    state: str
    headline: str
    kind: str = ""
    until: datetime | None = None
    grounds: tuple[str, ...] = ()
    suggestions: tuple[SuggestedCommand, ...] = ()
    history: tuple[EventRow, ...] = ()

    @property
    def name(self) -> str:
        """The name of the task instance: ``load[1]``."""
        return str(TaskKey(self.task_id, self.map_index))

    @property
    def wake_at(self) -> datetime | None:
        """The time at which the view changes without a commit."""
        return self.until

    def spelled(self, spell: Callable[[SuggestedCommand], str]) -> Self:
        return replace(self, headline=respelled(self.headline, self.suggestions, spell))


def fetch(store: Store, query: WhyTaskQuery, now: datetime, settings: Settings) -> WhyTaskView:
    """Raises DagRunNotFound or TaskInstanceNotFound."""
    run = run_of(store, query.dag_id, query.run_id)
    schedulers = running_schedulers(store, settings, now)
    spec: DagSpec | None = None
    if run.key in runs_set_aside(schedulers):  # perhaps because its spec cannot be read
        zone = timezone_of(row_of(store, run.dag_id).timezone)
    else:
        spec = version_of(store, run.dag_id, run.version).spec
        zone = zone_of(spec)
    ti = _instance(store, run, query)
    wait = explain_task(store, run.key, ti.key, schedulers, now).get(ti.key)
    events = store.events(run=run.key, key=ti.key)[-HISTORY:]
    errors = last_errors(store.attempts(run.key))
    error = errors.get(ti.key, "")
    grounds: list[str] = []
    suggestions = tuple(wait.suggestions) if wait is not None else ()
    headline = wait.text if wait is not None else ""
    if ti.state in FINISHED:
        headline = f"It is {ti.state.value}."
        if events and spec is not None:
            reason = end_reason(spec, events[-1], errors)
            headline, suggestions = reason.text, reason.suggestions
    elif error:
        grounds.append(f"Previous try: {error}")
    return WhyTaskView(
        task_id=ti.task_id,
        map_index=ti.map_index,
        subject=f"{run.dag_id} {ti.key}, {run_title(run, zone)}",
        state=ti.state.value,
        headline=_sentence(headline),
        kind=wait.kind if wait is not None else "",
        until=in_zone(wait.until, zone) if wait is not None else None,
        grounds=tuple(grounds),
        suggestions=suggestions,
        history=tuple(event_rows(events, zone)),
    )


def _instance(store: Store, run: Run, query: WhyTaskQuery) -> Instance:
    tis = [ti for ti in store.instances(run.key) if ti.task_id == query.task_id]
    if query.map_index is not None:
        tis = [ti for ti in tis if ti.map_index == query.map_index]
    if not tis:
        key = TaskKey(query.task_id, -1 if query.map_index is None else query.map_index)
        raise TaskInstanceNotFound(
            f"Task {str(key)!r} has no instance in {run.run_id} yet.",
            hint="Mapped task instances are created when the upstream result is known." if key.map_index >= 0 else "",
        )
    return next((ti for ti in tis if ti.state not in FINISHED), tis[0])


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text[0].upper()}{text[1:]}."
