"""Waiting for a run of another DAG, or for tasks in that run.

The run is selected by its logical date: that of this run, minus ``execution_delta``, or the date (or dates) that
``execution_date_fn`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbflow.authoring.context import arguments_for
from nbflow.core.states import RunState, TaskState
from nbflow.errors import AirflowException, AirflowSkipException, InvalidArgument
from nbflow.operators.empty import EmptyOperator
from nbflow.sensors.base import BaseSensorOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class ExternalTaskFailedError(AirflowException):
    """The run or a task that an ExternalTaskSensor waits for is in one of its ``failed_states``."""


class ExternalTaskSensor(BaseSensorOperator):
    """Waits until a run of ``external_dag_id``, or tasks in it, are in one of ``allowed_states``.

    ``external_task_id`` or ``external_task_ids`` name tasks (all instances of a mapped task); without them the sensor
    waits for the run. ``failed_states`` fail the sensor at once (with ``soft_fail``: skip it), ``skipped_states`` skip
    it. With ``deferrable`` the sensor is rescheduled between two pokes. ``check_existence`` is accepted but has no
    effect: the sensor waits for a DAG that does not exist as for one that has not run.
    """

    template_fields: Sequence[str] = ("external_dag_id", "external_task_id", "external_task_ids")
    ui_color = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., datetime | Sequence[datetime]] | None = None,
        check_existence: bool = False,
        poll_interval: float | None = None,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        if deferrable:
            kwargs["mode"] = "reschedule"
            kwargs.setdefault("poke_interval", poll_interval or 60)
        super().__init__(**kwargs)
        subject = f"ExternalTaskSensor {self.task_id}"
        if external_task_group_id is not None:
            raise InvalidArgument(
                f"{subject}: external_task_group_id is not supported yet; use external_task_ids with the group's tasks."
            )
        if external_task_id is not None and external_task_ids is not None:
            raise InvalidArgument(f"{subject} takes external_task_id or external_task_ids, not both.")
        if execution_delta is not None and execution_date_fn is not None:
            raise InvalidArgument(f"{subject} takes execution_delta or execution_date_fn, not both.")
        ids = [external_task_id] if external_task_id is not None else list(external_task_ids or ())
        if len(set(ids)) != len(ids):
            raise InvalidArgument(f"{subject} names a task twice: {', '.join(ids)}.")
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.external_task_ids = ids
        self.allowed_states = [str(state) for state in allowed_states or (TaskState.SUCCESS,)]
        self.skipped_states = [str(state) for state in skipped_states or ()]
        self.failed_states = [str(state) for state in failed_states or ()]
        self.execution_delta, self.execution_date_fn = execution_delta, execution_date_fn
        self.check_existence = check_existence
        _check_states(subject, [*self.allowed_states, *self.skipped_states, *self.failed_states], tasks=bool(ids))

    def poke(self, context: Context) -> bool:
        dates = self.dates(context)
        name = f"{self.external_dag_id}{'.' if self.external_task_ids else ''}{', '.join(self.external_task_ids)}"
        self.log.info("Poking for %s at %s", name, ", ".join(date.isoformat() for date in dates))
        states_by_item = self._states(context, dates)
        all_states = {state for states in states_by_item for state in states}
        if failed := all_states & set(self.failed_states):
            message = f"{name} is {', '.join(sorted(failed))}."
            if self.soft_fail:
                raise AirflowSkipException(message)
            raise ExternalTaskFailedError(message)
        if skipped := all_states & set(self.skipped_states):
            raise AirflowSkipException(f"{name} is {', '.join(sorted(skipped))}.")
        allowed = set(self.allowed_states)
        return all(states and allowed.issuperset(states) for states in states_by_item)

    def _states(self, context: Context, dates: Sequence[datetime]) -> list[list[str]]:
        """For each run (or each task) at each date, the states that exist: none, one, or one for each instance."""
        runtime = context["ti"].runtime
        if not self.external_task_ids:
            return [runtime.run_states(self.external_dag_id, [date]) for date in dates]
        states: dict[tuple[str, datetime], list[str]] = {
            (task_id, date): [] for task_id in self.external_task_ids for date in dates
        }
        for task_id, _, date, state in runtime.task_states(self.external_dag_id, self.external_task_ids, dates):
            states[task_id, date].append(state)
        return list(states.values())

    def dates(self, context: Context) -> list[datetime]:
        """Logical dates of the other DAG's runs."""
        logical_date = context["ti"].run.logical_date
        if logical_date is None:
            raise AirflowException(
                f"{self.task_id} selects the run of {self.external_dag_id} by logical date, but this run has none."
            )
        if self.execution_delta is not None:
            return [logical_date - self.execution_delta]
        if self.execution_date_fn is None:
            return [logical_date]
        arguments = arguments_for(self.execution_date_fn, {}, context, positional=1)
        dates = self.execution_date_fn(context["logical_date"], **arguments)
        return [dates] if isinstance(dates, datetime) else list(dates)


def _check_states(subject: str, states: Sequence[str], *, tasks: bool) -> None:
    valid = [state.value for state in (TaskState if tasks else RunState)]
    invalid = [state for state in states if state not in valid]
    if invalid:
        kind = "task" if tasks else "run"
        raise InvalidArgument(
            f"{subject}: {', '.join(invalid)} is not a state of a {kind}. States: {', '.join(valid)}."
        )
    if len(set(states)) != len(states):
        raise InvalidArgument(f"{subject} names a state twice: {', '.join(states)}.")


class ExternalTaskMarker(EmptyOperator):
    """Marks that a task of another DAG waits for this one, so that clearing this task can clear that one."""

    template_fields: Sequence[str] = ("external_dag_id", "external_task_id", "logical_date")
    ui_color = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str,
        logical_date: str | datetime = "{{ logical_date.isoformat() }}",
        recursion_depth: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if recursion_depth <= 0:
            raise InvalidArgument(f"recursion_depth of {self.task_id} must be at least 1, not {recursion_depth}.")
        self.external_dag_id, self.external_task_id = external_dag_id, external_task_id
        self.logical_date = logical_date.isoformat() if isinstance(logical_date, datetime) else logical_date
        self.recursion_depth = recursion_depth
