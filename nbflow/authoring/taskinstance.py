"""``ti`` and ``dag_run`` as task code knows them: Airflow's attributes over plain data and a :class:`Runtime`.

Nothing here holds a database. What the objects know at once comes with the :class:`~nbflow.authoring.runtime.Work`; the
rest is asked of the runtime when it is used. Dates are pendulum DateTimes, made when they are looked at.

``xcom_pull`` follows Airflow 3: without ``task_ids`` it looks at the task's own XComs; a list of ids gives a list with
None for what is missing; one id gives the value, or the list of all values where a mapped task has several; ``default``
counts where ``map_indexes`` is given.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from nbflow.authoring.context import Later, value_of
from nbflow.authoring.runtime import Runtime, Work
from nbflow.core.snapshot import Run
from nbflow.errors import AirflowException

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

XCOM_RETURN_KEY = "return_value"
TASK_LOGGER = "nbflow.task"
_UNSET: Any = object()


def as_pendulum(moment: datetime | None) -> Any:
    """The moment as a pendulum DateTime in UTC; None stays None."""
    if moment is None:
        return None
    from datetime import UTC

    import pendulum

    return pendulum.instance(moment.astimezone(UTC), tz="UTC")


class DagRun:
    """``dag_run``: one run, read only."""

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
        """Airflow 2: whether somebody triggered it."""
        return self.run_type == "manual"

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id} @ {self.run_id}>"


class TaskInstance:
    """``ti``: one try of one task instance.

    ``follow`` and ``skip_downstream`` say what the tasks after this one become; ``run_try`` reads ``steering``.
    """

    def __init__(
        self, *, dag: Any, task: Any, work: Work, runtime: Runtime, started: datetime, own_process: bool = False
    ) -> None:
        self.dag: Any = dag
        self.task: Any = task
        self.work: Work = work
        self.runtime: Runtime = runtime
        self.started = started
        """When this process began with it; ``start_date`` is the start of the try."""
        self.own_process = own_process
        """Nothing but this try runs in the process."""
        self.run: Run = work.run
        self.task_id = work.task_id
        self.dag_id = work.run.dag_id
        self.run_id = work.run.run_id
        self.map_index = work.map_index
        self.try_number = work.try_number
        self.max_tries = work.max_tries
        self.state = "running"
        self.steering: Follow | Skip | None = None

    @cached_property
    def dag_run(self) -> DagRun:
        return DagRun(self.run)

    @cached_property
    def start_date(self) -> Any:
        return as_pendulum(self.work.first_start or self.started)

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
        return self.work.log_path

    @cached_property
    def log_url(self) -> str:
        """Where a person finds the log, as a path under the web pages' address."""
        from urllib.parse import quote

        place = f"/dags/{quote(self.dag_id)}/runs/{quote(self.run_id, safe='')}/tasks/{quote(self.task_id)}"
        return f"{place}?map_index={self.map_index}&try_number={self.try_number}"

    @property
    def operator(self) -> str:
        return type(self.task).__name__

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """The DAG's params, overridden by the task's, overridden by the run's conf, and checked."""
        return self.dag.params.values_with({**(self.task.params or {}), **self.run.conf})

    def get_dagrun(self) -> DagRun:
        return self.dag_run

    def get_template_context(self) -> Context:
        return self.context

    @cached_property
    def context(self) -> Context:
        from nbflow.authoring.context import Context

        return Context(self)

    @cached_property
    def previous_success(self) -> DagRun | None:
        run = self.runtime.previous_success()
        return None if run is None else DagRun(run)

    def get_previous_dagrun(self, state: str | None = None) -> DagRun | None:
        """The last successful run of an earlier logical date; other states cannot be asked for."""
        if state not in (None, "success"):
            raise AirflowException(f"A task can look back at successful runs only, not at {state!r} ones.")
        return self.previous_success

    @property
    def previous_start_date_success(self) -> Any:
        return self.previous_success and self.previous_success.start_date

    @cached_property
    def next_logical_date(self) -> Any:
        """Of Airflow 2: the schedule's last fire up to the end of this run's interval. A run that was triggered by hand
        has no neighbours in the schedule and gives its own date."""
        if self.run.run_type == "manual" or self.run.data_interval_end is None:
            return self.logical_date
        return as_pendulum(self.dag.timetable.manual_interval(self.run.data_interval_end).end)

    @cached_property
    def previous_logical_date(self) -> Any:
        """Of Airflow 2: the schedule's last fire before this run's logical date."""
        moment = self.run.logical_date
        if self.run.run_type == "manual" or moment is None:
            return self.logical_date
        just_before = moment - timedelta(microseconds=1)
        found = self.dag.timetable.manual_interval(just_before).end
        if found == just_before:  # a schedule by steps has no grid: whatever the moment, its interval ends there
            found = self.dag.timetable.manual_interval(moment).start
        return as_pendulum(found) if found < moment else None

    # ------------------------------------------------------------------------------------------------------------ XCom

    def xcom_push(self, key: str, value: Any, execution_date: Any = None) -> None:
        """Store a value under ``key``. Raises SerializationError naming the place of what JSON cannot hold."""
        if not isinstance(key, str) or not key:
            raise AirflowException(f"An XCom's key is text, not {key!r}.")
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
        """Values that tasks stored; see the module's head for what comes in which form."""
        single = task_ids is None or isinstance(task_ids, str)
        wanted = _listed(self.task_id if task_ids is None else task_ids)
        found = self.xcoms(wanted, key, dag_id=dag_id, run_id=run_id, prior_dates=include_prior_dates)
        if map_indexes is _UNSET:
            values = [value for task_id in wanted for value in list(found.get(task_id, {}).values()) or [None]]
            return values[0] if single and len(values) == 1 else values
        one_index = map_indexes is None or isinstance(map_indexes, int)
        indexes = _listed(map_indexes)
        values = [_or_default(_at(found.get(t, {}), index), default) for t, index in product(wanted, indexes)]
        return values[0] if single and one_index else values

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
        """task id -> map index -> value, of what there is; one question to the runtime."""
        found: dict[str, dict[int, Any]] = {}
        ids = list(dict.fromkeys(task_ids))
        rows = self.runtime.xcom_get(
            ids, key, dag_id=dag_id, run_id=run_id, map_index=map_index, prior_dates=prior_dates
        )
        for task_id, index, value in rows:
            found.setdefault(task_id, {})[index] = value
        return found

    # -------------------------------------------------------------------------------------------------------- steering

    def follow(self, task_ids: str | Iterable[str] | None) -> None:
        """Of the tasks directly after this one, run those named (and those after them); skip the others."""
        self.steering = Follow(task_ids)

    def skip_downstream(self, which: Literal["direct", "all"]) -> None:
        """Skip the tasks directly after this one, or all tasks after it."""
        self.steering = Skip(which)

    def __repr__(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"<TaskInstance {self.dag_id}.{self.task_id}{index} @ {self.run_id}, try {self.try_number}>"


class Follow:
    """A branch's choice, as the task gave it; ``run_try`` checks it."""

    def __init__(self, choice: Any) -> None:
        self.choice = choice


class Skip:
    """What a short circuit skips."""

    def __init__(self, which: Literal["direct", "all"]) -> None:
        self.which = which


def _listed(value: Any) -> list[Any]:
    """One thing or several, as a list."""
    return [value] if value is None or isinstance(value, str | int) else list(value)


def _at(values: Mapping[int, Any], index: int | None) -> Any:
    if index is None:
        return next(iter(values.values()), _UNSET)
    return values.get(index, _UNSET)


def _or_default(value: Any, default: Any) -> Any:
    return default if value is _UNSET or value is None else value


def plain(value: Any) -> Any:
    """A task may return what it was given: lazy sequences (:mod:`nbflow.authoring.xcomarg`) in a value become lists,
    and a context value that stood for itself (:class:`~nbflow.authoring.context.Later`) becomes it."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is Later:
        return value_of(value)
    if kind in (list, tuple):
        return kind(plain(item) for item in value)
    if kind is dict:
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and kind.__module__ == "nbflow.authoring.xcomarg":
        return [plain(item) for item in value]
    return value


_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})
