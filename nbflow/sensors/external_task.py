"""Waiting for another DAG: for a run of it, or for tasks in that run.

The other DAG's run is found by its logical date: this run's own, moved back by ``execution_delta``, or whatever
``execution_date_fn`` returns (one date or several).
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
    """What an ExternalTaskSensor waits for ended in one of its ``failed_states``."""


class ExternalTaskSensor(BaseSensorOperator):
    """Waits until a run of ``external_dag_id``, or tasks in it, are in one of ``allowed_states``.

    ``external_task_id`` or ``external_task_ids`` name tasks (of a mapped task every instance counts); without them the
    whole run is meant. ``failed_states`` fail the sensor at once (with ``soft_fail``: skip it), ``skipped_states`` skip
    it. ``deferrable`` is accepted; the sensor then gives its slot back between two looks. ``check_existence`` is
    accepted too: a DAG that does not exist is waited for like one that has not run yet.
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
        whose = f"ExternalTaskSensor {self.task_id}"
        if external_task_group_id is not None:
            raise InvalidArgument(f"{whose}: external_task_group_id is not there yet; name its tasks one by one.")
        if external_task_id is not None and external_task_ids is not None:
            raise InvalidArgument(f"{whose} takes external_task_id or external_task_ids, not both.")
        if execution_delta is not None and execution_date_fn is not None:
            raise InvalidArgument(f"{whose} takes execution_delta or execution_date_fn, not both.")
        ids = [external_task_id] if external_task_id is not None else list(external_task_ids or ())
        if len(set(ids)) != len(ids):
            raise InvalidArgument(f"{whose} names a task twice: {', '.join(ids)}.")
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.external_task_ids = ids
        self.allowed_states = [str(state) for state in allowed_states or (TaskState.SUCCESS,)]
        self.skipped_states = [str(state) for state in skipped_states or ()]
        self.failed_states = [str(state) for state in failed_states or ()]
        self.execution_delta, self.execution_date_fn = execution_delta, execution_date_fn
        self.check_existence = check_existence
        _check_states(whose, [*self.allowed_states, *self.skipped_states, *self.failed_states], tasks=bool(ids))

    def poke(self, context: Context) -> bool:
        dates = self.dates(context)
        what = f"{self.external_dag_id}{'.' if self.external_task_ids else ''}{', '.join(self.external_task_ids)}"
        self.log.info("Looking for %s at %s", what, ", ".join(date.isoformat() for date in dates))
        states = self._states(context, dates)
        found = {state for here in states for state in here}
        if failed := found & set(self.failed_states):
            message = f"{what} is {', '.join(sorted(failed))}."
            if self.soft_fail:
                raise AirflowSkipException(message)
            raise ExternalTaskFailedError(message)
        if skipped := found & set(self.skipped_states):
            raise AirflowSkipException(f"{what} is {', '.join(sorted(skipped))}.")
        allowed = set(self.allowed_states)
        return all(here and allowed.issuperset(here) for here in states)

    def _states(self, context: Context, dates: Sequence[datetime]) -> list[list[str]]:
        """For each thing that is waited for, at each date, the states of what there is of it."""
        runtime = context["ti"].runtime
        if not self.external_task_ids:
            return [runtime.run_states(self.external_dag_id, [date]) for date in dates]
        here: dict[tuple[str, datetime], list[str]] = {(i, date): [] for i in self.external_task_ids for date in dates}
        for task_id, _, date, state in runtime.task_states(self.external_dag_id, self.external_task_ids, dates):
            here[task_id, date].append(state)
        return list(here.values())

    def dates(self, context: Context) -> list[datetime]:
        """Logical dates of the other DAG's runs."""
        own = context["ti"].run.logical_date
        if own is None:
            raise AirflowException(f"{self.task_id} finds the other run by logical date, and this run has none.")
        if self.execution_delta is not None:
            return [own - self.execution_delta]
        if self.execution_date_fn is None:
            return [own]
        arguments = arguments_for(self.execution_date_fn, {}, context, positional=1)
        found = self.execution_date_fn(context["logical_date"], **arguments)
        return [found] if isinstance(found, datetime) else list(found)


def _check_states(whose: str, states: Sequence[str], *, tasks: bool) -> None:
    known = [state.value for state in (TaskState if tasks else RunState)]
    wrong = [state for state in states if state not in known]
    if wrong:
        kind = "task" if tasks else "run"
        raise InvalidArgument(f"{whose}: {', '.join(wrong)} is no state of a {kind}. States: {', '.join(known)}.")
    if len(set(states)) != len(states):
        raise InvalidArgument(f"{whose} names a state twice: {', '.join(states)}.")


class ExternalTaskMarker(EmptyOperator):
    """Says that a task of another DAG waits for this one, so that clearing this one can clear that one too."""

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
