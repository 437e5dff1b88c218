"""``ti`` and ``dag_run`` for task code: Airflow's attributes, made from plain data and a :class:`Runtime`.

The objects have no database session. Their data comes from the :class:`~nbflow.authoring.workload.Workload`;
everything else is a request to the runtime when it is used. Dates are pendulum DateTimes, created at the first use.

``xcom_pull`` follows Airflow 3: without ``task_ids`` it pulls the task's own XComs; a list of ids returns a list, with
None for missing XComs; a single id returns the value, or the list of all values of a mapped task; ``default`` applies
only with ``map_indexes``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import product
from typing import Any, Literal

from nbflow.authoring.context import Context, LazyValue, value_of
from nbflow.authoring.workload import Runtime, Workload
from nbflow.core.identifiers import XCOM_KEY, check_id
from nbflow.core.snapshot import Run
from nbflow.errors import AirflowException

XCOM_RETURN_KEY = "return_value"
TASK_LOGGER = "nbflow.task"
_UNSET: Any = object()


def as_pendulum(moment: datetime | None) -> Any:
    """Convert a datetime to a pendulum DateTime in UTC; None stays None."""
    if moment is None:
        return None
    from datetime import UTC

    import pendulum

    return pendulum.instance(moment.astimezone(UTC), tz="UTC")


class DagRun:
    """``dag_run``: a DAG run, read-only."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.dag_id = run.dag_id
        self.run_id = run.run_id
        self.run_type = run.run_type
        self.conf: dict[str, Any] = dict(run.conf)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._run, name)
        if isinstance(value, datetime):
            value = as_pendulum(value)
            self.__dict__[name] = value
        return value

    @property
    def state(self) -> str:
        return self._run.state.value

    def get_state(self) -> str:
        return self.state

    @property
    def execution_date(self) -> Any:
        """Airflow 2's name of ``logical_date``."""
        return self.logical_date

    @property
    def external_trigger(self) -> bool:
        """Airflow 2: whether the run was triggered manually."""
        return self.run_type == "manual"

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id} @ {self.run_id}>"


class TaskInstance:
    """``ti``: one try of one task instance.

    ``skip_all_except`` and ``skip_downstream`` set which downstream tasks run; ``run_try`` reads ``downstream_choice``.
    """

    def __init__(
        self, *, dag: Any, task: Any, workload: Workload, runtime: Runtime, started: datetime, own_process: bool = False
    ) -> None:
        self.dag: Any = dag
        self.task: Any = task
        self.workload: Workload = workload
        self.runtime: Runtime = runtime
        self.started = started
        """When this process started to run it; ``start_date`` is the start of the try."""
        self.own_process = own_process
        """Whether the process runs only this try."""
        self.run: Run = workload.run
        self.task_id = workload.task_id
        self.dag_id = workload.run.dag_id
        self.run_id = workload.run.run_id
        self.map_index = workload.map_index
        self.try_number = workload.try_number
        self.max_tries = workload.max_tries
        self.state = "running"
        self.downstream_choice: BranchChoice | SkipChoice | None = None

    @cached_property
    def dag_run(self) -> DagRun:
        return DagRun(self.run)

    @cached_property
    def start_date(self) -> Any:
        return as_pendulum(self.workload.first_start or self.started)

    @property
    def logical_date(self) -> Any:
        return self.dag_run.logical_date

    @property
    def execution_date(self) -> Any:
        return self.dag_run.logical_date

    @cached_property
    def hostname(self) -> str:
        import socket

        return socket.gethostname()

    @cached_property
    def log(self) -> logging.Logger:
        return logging.getLogger(TASK_LOGGER)

    @property
    def log_filepath(self) -> str | None:
        return self.workload.log_path

    @cached_property
    def log_url(self) -> str:
        """The log's page, as a path under the web server's address."""
        from urllib.parse import quote

        place = f"/dags/{quote(self.dag_id)}/runs/{quote(self.run_id, safe='')}/tasks/{quote(self.task_id)}"
        return f"{place}?map_index={self.map_index}&try_number={self.try_number}"

    @property
    def operator(self) -> str:
        return type(self.task).__name__

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """The DAG's params, overridden by the task's, then by the run's conf; checked."""
        return self.dag.params.values_with({**(self.task.params or {}), **self.run.conf})

    def get_dagrun(self) -> DagRun:
        return self.dag_run

    def get_template_context(self) -> Context:
        return self.context

    @cached_property
    def context(self) -> Context:
        return Context(self)

    @cached_property
    def previous_success(self) -> DagRun | None:
        run = self.runtime.previous_success()
        return None if run is None else DagRun(run)

    def get_previous_dagrun(self, state: str | None = None) -> DagRun | None:
        """The last successful run with an earlier logical date. Raises AirflowException for another ``state``."""
        if state not in (None, "success"):
            raise AirflowException(f"A task can read the previous successful run only, not one in state {state!r}.")
        return self.previous_success

    @property
    def previous_start_date_success(self) -> Any:
        return self.previous_success and self.previous_success.start_date

    @cached_property
    def next_logical_date(self) -> Any:
        """Airflow 2: the last date of the schedule up to the end of this run's data interval. For a manually triggered
        run, which is not part of the schedule: its own logical date."""
        if self.run.run_type == "manual" or self.run.data_interval_end is None:
            return self.logical_date
        return as_pendulum(self.dag.timetable.manual_interval(self.run.data_interval_end).end)

    @cached_property
    def previous_logical_date(self) -> Any:
        """Airflow 2: the last date of the schedule before this run's logical date."""
        moment = self.run.logical_date
        if self.run.run_type == "manual" or moment is None:
            return self.logical_date
        just_before = moment - timedelta(microseconds=1)
        previous = self.dag.timetable.manual_interval(just_before).end
        if previous == just_before:  # a timedelta schedule has no fixed dates: any interval ends at the given moment
            previous = self.dag.timetable.manual_interval(moment).start
        return as_pendulum(previous) if previous < moment else None

    # ------------------------------------------------------------------------------------------------------------- XCom

    def xcom_push(self, key: str, value: Any, execution_date: Any = None) -> None:
        """Store a value under ``key``. Raises SerializationError, which names the path of a value without JSON form."""
        check_id(key, XCOM_KEY)
        self.runtime.xcom_push(key, plain(value))

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = XCOM_RETURN_KEY,
        include_prior_dates: bool = False,
        session: Any = None,
        *,
        map_indexes: int | Iterable[int] | None = _UNSET,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """Return XComs of tasks; the module's docstring describes the forms of the result."""
        single = task_ids is None or isinstance(task_ids, str)
        ids = _as_list(self.task_id if task_ids is None else task_ids)
        xcoms = self.xcoms(ids, key, dag_id=dag_id, run_id=run_id, prior_dates=include_prior_dates)
        if map_indexes is _UNSET:
            values = [value for task_id in ids for value in list(xcoms.get(task_id, {}).values()) or [None]]
            return values[0] if single and len(values) == 1 else values
        single_index = map_indexes is None or isinstance(map_indexes, int)
        indexes = _as_list(map_indexes)
        values = [_or_default(_at(xcoms.get(task_id, {}), index), default) for task_id, index in product(ids, indexes)]
        return values[0] if single and single_index else values

    def xcoms(
        self,
        task_ids: Sequence[str],
        key: str = XCOM_RETURN_KEY,
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        prior_dates: bool = False,
        map_index: int | None = None,
    ) -> dict[str, dict[int, Any]]:
        """task id -> map index -> value of the existing XComs; one request to the runtime."""
        xcoms: dict[str, dict[int, Any]] = {}
        ids = list(dict.fromkeys(task_ids))
        rows = self.runtime.xcom_get(
            ids, key, dag_id=dag_id, run_id=run_id, map_index=map_index, prior_dates=prior_dates
        )
        for task_id, index, value in rows:
            xcoms.setdefault(task_id, {})[index] = value
        return xcoms

    # ------------------------------------------------------------------------------------------------- downstream tasks

    def skip_all_except(self, task_ids: str | Iterable[str] | None) -> None:
        """Skip the direct downstream tasks other than ``task_ids``."""
        self.downstream_choice = BranchChoice(task_ids)

    def skip_downstream(self, which: Literal["direct", "all"]) -> None:
        """Skip the direct downstream tasks, or all downstream tasks."""
        self.downstream_choice = SkipChoice(which)

    def __repr__(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"<TaskInstance {self.dag_id}.{self.task_id}{index} @ {self.run_id}, try {self.try_number}>"


class BranchChoice:
    """The task ids that a branch returned; ``run_try`` checks them."""

    def __init__(self, choice: Any) -> None:
        self.choice = choice


class SkipChoice:
    """Which downstream tasks a short circuit skips."""

    def __init__(self, which: Literal["direct", "all"]) -> None:
        self.which = which


def _as_list(value: Any) -> list[Any]:
    """A single value or several, as a list."""
    return [value] if value is None or isinstance(value, str | int) else list(value)


def _at(values: Mapping[int, Any], index: int | None) -> Any:
    return values.get(-1 if index is None else index, _UNSET)  # None: of a task that is not mapped, as in Airflow


def _or_default(value: Any, default: Any) -> Any:
    return default if value is _UNSET or value is None else value


def plain(value: Any) -> Any:
    """Convert the lazy objects in a value, which a task may return as it got them: lazy sequences of
    :mod:`nbflow.authoring.xcomarg` become lists, a :class:`~nbflow.authoring.context.LazyValue` becomes its value."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is LazyValue:
        return value_of(value)
    if kind in (list, tuple):
        return kind(plain(item) for item in value)
    if kind is dict:
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and kind.__module__ == "nbflow.authoring.xcomarg":
        return [plain(item) for item in value]
    return value


_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})
