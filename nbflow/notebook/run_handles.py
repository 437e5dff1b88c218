"""Handles of runs and backfills: results of the verbs that display themselves.

A handle reads the metastore; the scheduler runs the tasks. While a run is displayed, one thread follows it and passes
each new view to the live graph, so that the main thread is not blocked.

The output that shows the end is sent twice: by that thread, and by the cell that waits for the end (``settle``). A
message of a thread belongs to whichever cell was executed last, and nbclient stores only messages of the cell that it
executes: it drops those that arrive between two cells.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from nbflow.core.backfill import BackfillPlan
from nbflow.core.snapshot import Instance, Run
from nbflow.core.states import LIVE, RUN_FINISHED
from nbflow.errors import NbflowError
from nbflow.live.shared_views import Change, Snapshot
from nbflow.notebook.commands import execute_by_name
from nbflow.notebook.displayable import PICTURE_SECONDS, Shown, display_bundle, display_data, execution_count
from nbflow.notebook.error_display import as_one_line, one_line_errors, spell
from nbflow.notebook.task_verbs import clear, logs, states, why
from nbflow.services import schedulers
from nbflow.suggested_commands import START_SCHEDULER
from nbflow.ui import formatting
from nbflow.ui.live import LiveGraph
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.view_bundles import backfill_bundle, graph_bundle
from nbflow.views.backfill import BackfillQuery, BackfillView, backfill_view
from nbflow.views.graph import GraphQuery, GraphView, operator_name
from nbflow.views.shared import cause_text, elapsed, in_zone, state_counts, zone_of
from nbflow.views.task_log import TaskLogQuery
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery

if TYPE_CHECKING:
    from nbflow.core.spec import DagSpec
    from nbflow.notebook.session import Session
    from nbflow.store.base import Attempt
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Interval of polling for changes that the metastore does not announce: a saved notebook, a stopped scheduler."""


class _Follower:
    """A thread that calls ``update`` with each new view of a query until ``update`` returns True or the feed is closed,
    then ``end``. It waits ``interval_seconds`` after each call, and skips all views in between but the newest."""

    def __init__(
        self,
        session: Session,
        query: Query[V],
        update: Callable[[V], bool],
        end: Callable[[], None] | None = None,
        *,
        interval_seconds: float = 0.0,
    ) -> None:
        self._query, self._watch = query, session.feed.watch(query)
        self._update, self._end, self._interval_seconds = update, end, interval_seconds
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="nbflow-follow", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with self._watch:
                self._follow()
            if self._end is not None and not self._stopped.is_set():
                self._end()
        except NbflowError as error:
            log.warning("The output of %r is no longer updated: %s", self._query, error)
        except Exception:
            log.exception("The output of %r is no longer updated because of an internal error", self._query)

    def _follow(self) -> None:
        view: Any = None
        while not self._watch.closed:
            message = self._watch.next(POLL_SECONDS)
            if isinstance(message, (Snapshot, Change)):
                view = message.view
            if view is not None and not self._stopped.is_set() and self._update(view):
                return
            self._stopped.wait(self._interval_seconds)

    def stop(self, timeout: float = 5) -> None:
        """Stop following, without ``end``. Returns when the thread has ended, at the latest after ``timeout``
        seconds."""
        self._stopped.set()
        self._watch.close()
        self.thread.join(timeout)


class _SchedulerTimeout:
    """Raises when no scheduler has been running for ``seconds``."""

    def __init__(self, session: Session, seconds: float) -> None:
        self._session, self._seconds = session, seconds
        self._missing_since: float | None = None

    def check(self) -> None:
        """Raise NbflowError if the timeout has expired."""
        if schedulers.find(self._session.app) is not None:
            self._missing_since = None
            return
        now = time.monotonic()
        self._missing_since = now if self._missing_since is None else self._missing_since
        if now - self._missing_since >= self._seconds:
            raise as_one_line(NbflowError("No scheduler is running.", hint=f"Start it with: {spell(START_SCHEDULER)}."))


class Waitable:
    """Base of the handles: waits for the end of a run or backfill."""

    _session: Session
    _follower: _Follower | None = None
    _displayed_in: int | None = None
    scheduler_timeout_seconds = 15.0
    """Seconds without a running scheduler after which ``wait`` raises; a restart takes less."""

    @property
    def done(self) -> bool:
        """Whether the run or backfill has ended."""
        raise NotImplementedError

    @property
    def _outcome(self) -> Any:
        raise NotImplementedError

    def _timeout_error(self, seconds: float) -> NbflowError:
        raise NotImplementedError

    @one_line_errors
    def wait(self, timeout: float | None = None) -> Any:
        """Block until the end and return the outcome. Raises NbflowError after ``timeout`` seconds, or if no scheduler
        is running for ``scheduler_timeout_seconds``."""
        store = self._session.app.store
        scheduler_timeout = _SchedulerTimeout(self._session, self.scheduler_timeout_seconds)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            token = store.change_token()
            if self.done:
                break
            scheduler_timeout.check()
            remaining = POLL_SECONDS if end is None else min(POLL_SECONDS, end - time.monotonic())
            if remaining <= 0:
                raise self._timeout_error(timeout or 0)
            store.wait_for_change(token, timeout=remaining)
        self.settle()
        return self._outcome

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        store = self._session.app.store
        scheduler_timeout = _SchedulerTimeout(self._session, self.scheduler_timeout_seconds)
        while True:
            token = store.change_token()
            if self.done:
                break
            scheduler_timeout.check()
            await asyncio.to_thread(store.wait_for_change, token, timeout=POLL_SECONDS)
        await asyncio.to_thread(self.settle)
        return self._outcome

    def settle(self) -> None:
        """Make the output show the end, in a message of the calling cell. The output of an unfinished run or backfill
        stays live."""
        if self._follower is not None and self.done:
            self._follower.stop()
            self._show_end()

    def _show_end(self) -> None:
        raise NotImplementedError

    def show(self) -> None:
        """Display the run or backfill, live until its end."""
        raise NotImplementedError

    def show_once(self) -> None:
        """Display it once per cell, since ``%dag run`` displays its result, and IPython would display it again."""
        number = execution_count()
        if number is None or number != self._displayed_in:
            self._displayed_in = number
            self.show()


class RunHandle(Waitable):
    """The handle of a run: ``state``, ``tasks``, ``logs``, ``why``; ``wait(timeout)`` or ``await`` for its end."""

    def __init__(self, session: Session, run: Run, spec: DagSpec, add_notes: Callable[[GraphView], GraphView]) -> None:
        """``add_notes`` adds this kernel's notes to the graph."""
        self._session, self._spec, self._add_notes = session, spec, add_notes
        self.key = run.key
        self._last_run = run
        self._live: LiveGraph | None = None

    # --- the run

    @property
    def dag_id(self) -> str:
        return self.key.dag_id

    @property
    def run_id(self) -> str:
        return self.key.run_id

    @property
    def run(self) -> Run:
        """The current state of the run."""
        self._last_run = self._session.app.store.run(self.key) or self._last_run
        return self._last_run

    @property
    def state(self) -> str:
        """queued, running, success or failed."""
        return self.run.state.value

    @property
    def done(self) -> bool:
        return self.run.state in RUN_FINISHED

    @property
    def _outcome(self) -> str:
        return self._last_run.state.value

    @property
    def states(self) -> dict[str, str]:
        """Task instance (``load``, or ``load[1]``) -> state."""
        return {str(ti.key): ti.state.value for ti in self._instances()}

    @property
    def tasks(self) -> Shown:
        """The task instances as a table. As a value: task instance -> row."""
        return states(self.dag_id, run=self.run_id)

    def logs(self, task: str | None = None, *, try_number: int | None = None, search: str = "") -> Shown:
        """The log of a task's last try."""
        return logs(self.dag_id, task, run=self.run_id, try_number=try_number, search=search)

    def why(self, task: str | None = None) -> Shown:
        """Why tasks of the run wait or failed, or why ``task`` is in its state."""
        return why(self.dag_id, task, run=self.run_id)

    def clear(self, *tasks: str, failed: bool = False) -> Shown:
        """Clear tasks so that they run again: all tasks, ``tasks``, or the failed ones."""
        return clear(self.dag_id, *tasks, run=self.run_id, failed=failed)

    def __repr__(self) -> str:
        counts = formatting.counts_line(state_counts(self.states.values()))
        return f"<run {self.run_id} of {self.dag_id}: {self.state} ({counts})>"

    def _timeout_error(self, seconds: float) -> NbflowError:
        rows = self._session.fetch(WhyRunQuery(dag_id=self.dag_id, run_id=self.run_id)).rows
        first = next((row for row in rows if row.reason), None)
        text = f"Run {self.run_id} is still {self.state} after {seconds:g} s."
        return NbflowError(f"{text} {first.id}: {first.reason}" if first else text)

    def _instances(self) -> list[Instance]:
        return self._session.app.store.instances(self.key)

    # --- display

    def graph(self) -> GraphView:
        """The current graph of the run."""
        return self._add_notes(self._session.fetch(self._query))

    @property
    def _query(self) -> GraphQuery:
        return GraphQuery(dag_id=self.dag_id, run_id=self.run_id)

    def bundle(self) -> Bundle:
        """The current graph as HTML, text and SVG."""
        return graph_bundle(self.graph(), self._session.app.clock.now().astimezone(zone_of(self._spec)))

    def _ipython_display_(self) -> None:
        self.show_once()

    def show(self) -> None:
        """Display the graph, live until the end of the run."""
        if self.done:
            display_bundle(self.bundle())
            return
        if self._follower is not None and self._live is not None:
            self._follower.stop()
            self._live.finish()
        zone, clock = zone_of(self._spec), self._session.app.clock
        live = LiveGraph(
            self.graph(),
            now=lambda: clock.now().astimezone(zone),
            details=self._details,
            command=self._command,
            mime=display_data,
        )
        live.show(widgets=self._session.pictures)

        def update(view: GraphView) -> bool:
            live.update(self._add_notes(view))
            return view.run_state in RUN_FINISHED

        self._live, self._follower = live, _Follower(self._session, self._query, update, live.finish)

    def _show_end(self) -> None:
        if self._live is not None:
            self._live.update(self.graph())
            self._live.finish()

    # --- the panel of a task; these methods are called on the publisher's thread

    def _details(self, task_id: str) -> Mapping[str, Any]:
        tis = [ti for ti in self._instances() if ti.task_id == task_id]
        if not tis:
            return {"why": {"headline": "The scheduler has not created this task instance yet."}}
        ti = next((ti for ti in tis if ti.state.value in ("failed", "running", "up_for_retry")), tis[0])
        key: dict[str, Any] = {"task_id": task_id, "map_index": ti.map_index, **self.key._asdict()}
        why = self._session.fetch(WhyTaskQuery(**key))
        log = self._session.fetch(TaskLogQuery(**key))
        store = self._session.app.store
        # the events are in their order: the last move of an attempt out of a live state ended it
        ends = {
            event.attempt_id: event.target for event in store.events(run=self.key, key=ti.key) if event.source in LIVE
        }
        return {
            "subtitle": operator_name(self._spec.tasks[task_id]),
            "why": {
                "headline": why.headline,
                "grounds": list(why.grounds),
                "suggestions": [spell(suggested) for suggested in why.suggestions],
            },
            "log": [
                {"at": f"{line.at:%H:%M:%S}" if line.at else "", "level": line.level, "message": line.message}
                for line in log.lines[-PANEL_LINES:]
            ],
            "attempts": [
                self._attempt(attempt, ends.get(attempt.attempt_id, attempt.state))
                for attempt in store.attempts(self.key, ti.key)
            ],
            "actions": [{"label": "Clear", "name": "clear", "args": {"task_id": task_id}}] if ti.end_date else [],
        }

    def _attempt(self, attempt: Attempt, state: str) -> Mapping[str, Any]:
        started = in_zone(attempt.started_at, zone_of(self._spec))
        return {
            "try": attempt.try_number,
            "state": state,
            "started": formatting.short_time(started) if started else "",
            "duration": formatting.duration(elapsed(attempt.started_at, attempt.ended_at)),
            "cause": cause_text(attempt.outcome or ""),
        }

    def _command(self, name: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        if name != "clear":
            raise NbflowError(f"Unknown command {name!r}.")
        tasks = [str(args.get("task_id", ""))]
        cleared = execute_by_name("tasks clear", self.dag_id, tasks=tasks, run=self.run_id).rows
        return {"message": f"Cleared {formatting.count(len(cleared), 'task')}."}


PANEL_LINES = 200
"""Number of log lines that the panel of a task shows."""


class BackfillHandle(Waitable):
    """The handle of a backfill: its runs and their states; ``wait(timeout)`` or ``await`` for its end."""

    def __init__(self, session: Session, dag_id: str, plan: BackfillPlan, backfill_id: int | None, zone: Any) -> None:
        self._session, self.dag_id, self.plan, self.backfill_id, self._zone = session, dag_id, plan, backfill_id, zone
        self._display: Any = None

    @property
    def dry_run(self) -> bool:
        """Whether this is only a plan, of which no run was created."""
        return self.backfill_id is None

    @property
    def dates(self) -> list[datetime]:
        """Logical dates of the runs, in the order in which they start."""
        return [entry.logical_date for entry in self.plan.to_run]

    @property
    def states(self) -> dict[str, str]:
        """Run id -> state."""
        return _states_of(self.view())

    @property
    def done(self) -> bool:
        return _has_ended(self.view())

    @property
    def _outcome(self) -> dict[str, str]:
        return self.states

    def cancel(self) -> int:
        """Fail the runs that have not started; returns their number."""
        if self.backfill_id is None:
            return 0
        return len(execute_by_name("backfill cancel", backfill_id=self.backfill_id).rows)

    def view(self) -> BackfillView:
        """The current view of the backfill."""
        if self.backfill_id is None:
            return backfill_view(self.dag_id, self.plan, self._zone)
        return self._session.fetch(BackfillQuery(backfill_id=self.backfill_id))

    def _timeout_error(self, seconds: float) -> NbflowError:
        counts = formatting.counts_line(state_counts(self.states.values()))
        return NbflowError(f"The backfill of {self.dag_id} has not ended after {seconds:g} s: {counts}.")

    def bundle(self) -> Bundle:
        return backfill_bundle(self.view(), self._session.app.clock.now())

    def __repr__(self) -> str:
        return self.bundle().text

    def _ipython_display_(self) -> None:
        self.show_once()

    def show(self) -> None:
        """Display the table of runs, live until all runs have ended."""
        now, displayed = self._session.app.clock.now, self.view()
        if self.backfill_id is None or _has_ended(displayed):
            display_bundle(backfill_bundle(displayed, now()))
            return
        if self._follower is not None:
            self._follower.stop()
        self._display = handle = display_bundle(backfill_bundle(displayed, now()), display_id=True)

        def update(view: BackfillView) -> bool:
            nonlocal displayed
            if view != displayed:
                displayed = view
                handle.update(display_data(backfill_bundle(view, now())), raw=True)
            return _has_ended(view)

        query = BackfillQuery(backfill_id=self.backfill_id)
        self._follower = _Follower(self._session, query, update, interval_seconds=PICTURE_SECONDS)

    def _show_end(self) -> None:
        self._display.update(display_data(self.bundle()), raw=True)


def _states_of(view: BackfillView) -> dict[str, str]:
    return {run.run_id: run.state for run in view.runs if run.run_id is not None and run.state}


def _has_ended(view: BackfillView) -> bool:
    """Whether all runs have ended; always True for a dry run."""
    return view.dry_run or all(state in RUN_FINISHED for state in _states_of(view).values())
