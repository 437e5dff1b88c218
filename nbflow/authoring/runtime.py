"""The seam between running a task and the world: what a try is given, what it may ask for, and what it returns.

``run_try`` (in :mod:`nbflow.execution.task_runner`) runs one try of one task against a :class:`Runtime`. There are two:
the child's, which asks its supervisor over a socket, and the in-process one, which asks the store. User code sees
neither; it sees ``context``, ``ti``, ``Variable`` and hooks, which are built on it.

Everything here crosses a process boundary as JSON, so every class is plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from nbflow.core.events import Event
from nbflow.core.snapshot import Run

if TYPE_CHECKING:
    from nbflow.secrets import Masker


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One try of one task instance, as an executor hands it to whoever runs it."""

    attempt_id: str
    run: Run
    task_id: str
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    version: int = 0
    continues: bool = False
    """The same try goes on after a reschedule or a deferral: XComs are kept, a sensor's time-out counts on."""
    first_start: datetime | None = None
    """When this try first started (for sensors that come back)."""
    reschedules: int = 0
    """How often this try was rescheduled."""
    next_method: str | None = None
    next_kwargs: Mapping[str, Any] = field(default_factory=dict)
    map_values: Mapping[str, Any] | None = None
    queued_at: datetime | None = None
    log_path: str | None = None


class Runtime(Protocol):
    """What a running task may ask of nbflow. Values are Python objects; whoever implements it serialises them."""

    @property
    def masker(self) -> Masker | None:
        """Masks what is secret in the variables and connections that were asked for; None: nothing is masked."""

    def now(self) -> datetime: ...
    def xcom_push(self, key: str, value: Any) -> None:
        """Store one XCom of this instance. Raises SerializationError naming the place in the value."""

    def xcom_get(
        self,
        task_ids: Sequence[str],
        key: str,
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
        prior_dates: bool = False,
    ) -> list[tuple[str, int, Any]]:
        """(task_id, map_index, value), ordered as ``task_ids`` and then by map index; missing ones are left out."""

    def get_variable(self, key: str) -> str | None: ...
    def set_variable(self, key: str, value: str, description: str | None = None) -> None: ...
    def delete_variable(self, key: str) -> None: ...
    def get_connection(self, conn_id: str) -> Any | None: ...
    def put_rendered(self, fields: Mapping[str, Any]) -> None:
        """Keep the rendered template fields, masked, for people."""

    def previous_success(self) -> Run | None: ...
    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], *, run_id: str | None = None) -> list[str]:
        """States of the runs of a DAG at these logical dates (or of that run); missing runs are left out."""

    def task_states(
        self, dag_id: str, task_ids: Sequence[str], logical_dates: Sequence[datetime]
    ) -> list[tuple[str, int, datetime, str]]:
        """(task_id, map_index, logical_date, state) of the instances there are (external task sensors)."""

    def latest_run(self, dag_id: str) -> Run | None: ...
    def next_interval_after(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """Of this DAG's timetable (LatestOnlyOperator)."""

    def trigger_dag(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        """Make a run of another DAG (TriggerDagRunOperator). Raises DagNotFound, DagRunAlreadyExists, DagIsPaused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a try ended: the event for ``react``, and what the supervisor does besides."""

    event: Event
    callbacks_run: tuple[str, ...] = ()
    """Kinds of the task's callbacks that ran in this process already (execute, and those of its own outcome)."""
