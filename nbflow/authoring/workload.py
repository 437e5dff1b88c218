"""The interface between a running task and nbflow: the input of a try (:class:`Workload`, as Airflow's executors call
it), the requests that it can make (:class:`Runtime`), and its :class:`Outcome`.

``run_try`` (in :mod:`nbflow.execution.task_runner`) runs one try of one task with a :class:`Runtime`. There are two:
the child process's, which sends requests to its supervisor over a socket, and the in-process one, which calls the
store. User code uses ``context``, ``ti``, ``Variable`` and hooks, which are built on it.

Workload and Outcome cross a process boundary as JSON, so they are plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from nbflow.core.attempt_events import Event
from nbflow.core.snapshot import Run

if TYPE_CHECKING:
    from nbflow.secrets_masker import Masker


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One try of one task instance, as an executor passes it to the process that runs it."""

    attempt_id: str
    run: Run
    task_id: str
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    version: int = 0
    continues: bool = False
    """Whether the try resumes after a reschedule or a deferral: its XComs stay, and a sensor's timeout does not start
    again."""
    first_start: datetime | None = None
    """The first start of this try (a sensor in reschedule mode starts several times)."""
    reschedules: int = 0
    """Number of reschedules of this try."""
    next_method: str | None = None
    next_kwargs: Mapping[str, Any] = field(default_factory=dict)
    queued_at: datetime | None = None
    log_path: str | None = None


class Runtime(Protocol):
    """The requests that a running task can make. Values are Python objects; the implementation serialises them."""

    @property
    def masker(self) -> Masker | None:
        """Masks the secrets in the variables and connections that the task has read; None: nothing is masked."""

    def now(self) -> datetime: ...
    def xcom_push(self, key: str, value: Any) -> None:
        """Store one XCom of this task instance. Raises SerializationError, which names the path in the value."""

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
        """(task_id, map_index, value), in the order of ``task_ids``, then of map indexes; missing XComs are left
        out."""

    def get_variable(self, key: str) -> str | None: ...
    def set_variable(self, key: str, value: str, description: str | None = None) -> None: ...
    def delete_variable(self, key: str) -> None: ...
    def get_connection(self, conn_id: str) -> Any | None: ...
    def put_rendered(self, fields: Mapping[str, Any]) -> None:
        """Store the rendered template fields, with secrets masked, for display."""

    def previous_success(self) -> Run | None: ...
    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], *, run_id: str | None = None) -> list[str]:
        """States of the runs of a DAG at these logical dates (or of that run); missing runs are left out."""

    def task_states(
        self, dag_id: str, task_ids: Sequence[str], logical_dates: Sequence[datetime]
    ) -> list[tuple[str, int, datetime, str]]:
        """(task_id, map_index, logical_date, state) of the existing task instances (ExternalTaskSensor)."""

    def latest_run(self, dag_id: str) -> Run | None: ...
    def next_interval_after(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The next data interval of this DAG's timetable (LatestOnlyOperator)."""

    def trigger_dag(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        """Create a run of another DAG (TriggerDagRunOperator). ``reset``: clear an existing run of the same id or date
        instead. Raises DagNotFound, DagRunAlreadyExists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a try: the event for ``handle_event``, and the callbacks that have run."""

    event: Event
    callbacks_run: tuple[str, ...] = ()
    """Kinds of the task's callbacks that already ran in the task's process (``execute``, and those of its outcome)."""


class Progress:
    """What ``run_try`` tells the supervisor of its process. Here it tells nobody."""

    def limit(self, seconds: float | None, of: str = "") -> None:
        """From now on what the process does may take this long; None: as long as it likes. ``of``: :data:`EXECUTION`,
        or the name of the callback that is called now."""

    def ended(self, outcome: Outcome) -> None:
        """The try has ended with this outcome. Its callbacks, which ``callbacks_run`` already has, are called next."""


EXECUTION = "execution"
"""What ``execution_timeout`` limits: pre_execute, execute and post_execute."""
