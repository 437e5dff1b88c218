"""Waiting for a time after the end of a run's data interval."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nbflow.errors import InvalidArgument
from nbflow.sensors.base import BaseSensorOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class TimeDeltaSensor(BaseSensorOperator):
    """Waits until ``delta`` after the end of the run's data interval (or after ``run_after`` if it has none).

    With ``deferrable`` the sensor is rescheduled between two pokes.
    """

    def __init__(self, *, delta: timedelta, deferrable: bool = False, **kwargs: Any) -> None:
        if deferrable:
            kwargs["mode"] = "reschedule"
        super().__init__(**kwargs)
        if not isinstance(delta, timedelta):
            raise InvalidArgument(f"delta of {self.task_id} must be a timedelta, not {delta!r}.")
        self.delta = delta

    def poke(self, context: Context) -> bool:
        ti = context["ti"]
        target = (ti.run.data_interval_end or ti.run.run_after) + self.delta
        self.log.info("Waiting until %s", target.isoformat())
        return bool(ti.runtime.now() >= target)
