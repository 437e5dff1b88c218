"""The base of sensors: tasks that call ``poke`` until a condition is met.

A sensor is a file in this folder: a class with a :meth:`BaseSensorOperator.poke`. The base class calls it in the
process that runs the task:

In ``poke`` mode the process sleeps between two pokes. In ``reschedule`` mode the process ends after each poke without
success, and the scheduler starts the same try again at the next poke, so that a long wait does not occupy a slot. In
both modes ``timeout`` counts from the first start of the try; a sensor that times out fails without retries, which are
for errors.

=======================  ===========================================================================================
``soft_fail``            a timeout, or an AirflowFailException in poke, skips the task
``silent_fail``          an error in poke counts as a poke without success
``never_fail``           an error in poke skips the task
``exponential_backoff``  each delay is twice the previous one (with a jitter that depends on the task instance), at
                         most ``max_wait``
=======================  ===========================================================================================
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nbflow.authoring.operator import BaseOperator
from nbflow.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    InvalidArgument,
)

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

__all__ = ["BaseSensorOperator", "PokeReturnValue"]

POKE, RESCHEDULE = "poke", "reschedule"
MAX_BACKOFF_DOUBLINGS = 32
"""More doublings would exceed any timeout, and overflow a float."""


@dataclass(frozen=True, slots=True)
class PokeReturnValue:
    """A return value of ``poke`` with the task's result. ``is_done``: whether the condition is met."""

    is_done: bool
    xcom_value: Any = None

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Base of all sensors: override :meth:`poke`. Durations are seconds or timedeltas.

    The defaults are Airflow's: a poke a minute, for at most seven days.
    """

    ui_color = "#e6f1f2"
    valid_modes: Sequence[str] = (POKE, RESCHEDULE)
    is_sensor = True

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = 7 * 24 * 3600,
        soft_fail: bool = False,
        mode: str = POKE,
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poke_interval = _seconds("poke_interval", poke_interval, self.task_id)
        self.timeout = _seconds("timeout", timeout, self.task_id)
        self.max_wait = None if max_wait is None else _seconds("max_wait", max_wait, self.task_id)
        if mode not in self.valid_modes:
            raise InvalidArgument(f"mode of {self.task_id} must be one of {', '.join(self.valid_modes)}, not {mode!r}.")
        if soft_fail and never_fail:
            raise InvalidArgument(f"{self.task_id} cannot have both soft_fail and never_fail; choose one.")
        self.mode = mode
        self.soft_fail, self.silent_fail, self.never_fail = soft_fail, silent_fail, never_fail
        self.exponential_backoff = exponential_backoff

    @property
    def reschedules(self) -> bool:
        """Whether the sensor releases its slot between two pokes."""
        return self.mode == RESCHEDULE

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Check the condition once. Returns whether it is met, or a PokeReturnValue."""
        raise NotImplementedError(f"{self.task_type} must define poke(self, context).")

    def execute(self, context: Context) -> Any:
        ti = context["ti"]
        wait_time = _WaitTime(ti, from_first_start=self.reschedules)
        pokes = ti.workload.reschedules
        while True:
            pokes += 1
            result = self._poke(context)
            if result:
                self.log.info("The condition is met, after %s pokes.", pokes)
                return result.xcom_value if isinstance(result, PokeReturnValue) else None
            if wait_time.seconds() > self.timeout:
                self._time_out(wait_time.seconds())
            delay = self.delay_after(pokes, f"{ti.dag_id}#{ti.task_id}#{ti.run_id}#{ti.map_index}")
            if self.reschedules:
                raise AirflowRescheduleException(ti.runtime.now() + timedelta(seconds=delay))
            time.sleep(delay)

    def _poke(self, context: Context) -> Any:
        try:
            return self.poke(context)
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"skipped instead of failing: {error}") from error
            raise
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.silent_fail:
                self.log.exception("The poke failed; the sensor continues to wait (silent_fail).")
                return False
            if self.never_fail:
                raise AirflowSkipException(f"skipped instead of failing: {error}") from error
            raise

    def _time_out(self, waited: float) -> None:
        message = f"The sensor has timed out: it has waited {waited:.1f} s, and its timeout is {self.timeout:g} s."
        if self.soft_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)

    def delay_after(self, pokes: int, identity: str = "") -> float:
        """Seconds between poke number ``pokes`` and the next one. With backoff, the jitter depends on ``identity``."""
        delay = self.poke_interval
        if self.exponential_backoff:
            base = delay * 2.0 ** min(pokes - 1, MAX_BACKOFF_DOUBLINGS)
            jitter = int.from_bytes(hashlib.sha256(f"{identity}#{pokes}".encode()).digest()[:4], "big") / 2**32
            delay = min(base * (1 + jitter), self.timeout)
        return delay if self.max_wait is None else min(delay, self.max_wait)


class _WaitTime:
    """The time that a sensor has waited: by the monotonic clock in a single process, by the wall clock if the sensor is
    rescheduled, because each poke is another process then."""

    def __init__(self, ti: Any, *, from_first_start: bool) -> None:
        self._ti, self._from_first_start = ti, from_first_start
        self._started = time.monotonic()

    def seconds(self) -> float:
        if self._from_first_start:
            first_start = self._ti.workload.first_start or self._ti.started
            return float((self._ti.runtime.now() - first_start).total_seconds())
        return time.monotonic() - self._started


def _seconds(name: str, value: timedelta | float, task_id: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise InvalidArgument(f"{name} of {task_id} must be a number of seconds or a timedelta, not {value!r}.")
    return float(seconds)
