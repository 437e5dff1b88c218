"""What every sensor is: a task that looks (``poke``) until what it waits for is there.

A sensor is a file in this folder: a class with a :meth:`BaseSensorOperator.poke`. The base calls it, in the process
that runs the task, and decides what comes of the answer:

``poke`` mode keeps the process, and sleeps between two looks. ``reschedule`` mode ends the process after each look that
found nothing, and the scheduler starts the same try again when the next one is due: a long wait takes no slot. The
``timeout`` counts from the try's first start in both, and ends the task for good: retries are for errors.

=====================  =============================================================================================
``soft_fail``          a time-out, or an AirflowFailException in poke, skips the task
``silent_fail``        an error in poke counts as "not yet"
``never_fail``         an error in poke skips the task
``exponential_backoff``  each wait is twice the one before (with a spread that is the same each time the run is
                       replayed), at most ``max_wait``
=====================  =============================================================================================
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
MOST_BACKOFF_DOUBLINGS = 32
"""Beyond this any interval is longer than a timeout can be."""


@dataclass(frozen=True, slots=True)
class PokeReturnValue:
    """What ``poke`` may return instead of a truth value: whether it is there, and the task's result."""

    is_done: bool
    xcom_value: Any = None

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Base of all sensors: override :meth:`poke`. Durations are seconds, or timedeltas.

    The defaults are Airflow's: a look a minute, for at most seven days.
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
            raise InvalidArgument(f"mode of {self.task_id} is one of {', '.join(self.valid_modes)}, not {mode!r}.")
        if soft_fail and never_fail:
            raise InvalidArgument(f"{self.task_id} cannot have both soft_fail and never_fail: take one.")
        self.mode = mode
        self.soft_fail, self.silent_fail, self.never_fail = soft_fail, silent_fail, never_fail
        self.exponential_backoff = exponential_backoff

    @property
    def reschedules(self) -> bool:
        """Whether it gives its slot back between two looks."""
        return self.mode == RESCHEDULE

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once: true (or a PokeReturnValue) when what the sensor waits for is there."""
        raise NotImplementedError(f"{self.task_type} must define poke(self, context).")

    def execute(self, context: Context) -> Any:
        ti = context["ti"]
        waited = _Waited(ti, from_first_start=self.reschedules)
        looks = ti.work.reschedules
        while True:
            looks += 1
            found = self._look(context)
            if found:
                self.log.info("It is there, at look number %s.", looks)
                return found.xcom_value if isinstance(found, PokeReturnValue) else None
            if waited.seconds() > self.timeout:
                self._time_out(waited.seconds())
            pause = self.pause_after(looks, f"{ti.dag_id}#{ti.task_id}#{ti.run_id}#{ti.map_index}")
            if self.reschedules:
                raise AirflowRescheduleException(ti.runtime.now() + timedelta(seconds=pause))
            time.sleep(pause)

    def _look(self, context: Context) -> Any:
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
                self.log.exception("The look failed; that counts as not yet.")
                return False
            if self.never_fail:
                raise AirflowSkipException(f"skipped instead of failing: {error}") from error
            raise

    def _time_out(self, waited: float) -> None:
        message = f"Sensor has timed out: it has waited {waited:.1f} s, and its timeout is {self.timeout:g} s."
        if self.soft_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)

    def pause_after(self, looks: int, identity: str = "") -> float:
        """Seconds from the ``looks``-th look to the next. With backoff the spread comes from ``identity``."""
        pause = self.poke_interval
        if self.exponential_backoff:
            base = pause * 2.0 ** min(looks - 1, MOST_BACKOFF_DOUBLINGS)
            spread = int.from_bytes(hashlib.sha256(f"{identity}#{looks}".encode()).digest()[:4], "big") / 2**32
            pause = min(base * (1 + spread), self.timeout)
        return pause if self.max_wait is None else min(pause, self.max_wait)


class _Waited:
    """How long a sensor has waited. One process measures with a clock that nobody can set; over several processes only
    the times of day are known."""

    def __init__(self, ti: Any, *, from_first_start: bool) -> None:
        self._ti, self._over_processes = ti, from_first_start
        self._began = time.monotonic()

    def seconds(self) -> float:
        if self._over_processes:
            begun = self._ti.work.first_start or self._ti.started
            return float((self._ti.runtime.now() - begun).total_seconds())
        return time.monotonic() - self._began


def _seconds(name: str, value: timedelta | float, task_id: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise InvalidArgument(f"{name} of {task_id} must be a number of seconds or a timedelta, not {value!r}.")
    return float(seconds)
