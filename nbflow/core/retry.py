"""The delay between a failed try and the next one.

Without backoff: exactly ``retry_delay``. With backoff, the delay after the n-th failure is in ``[base, 2 * base)``,
``base = retry_delay * multiplier ** (n - 1)``, limited to a day and to ``max_retry_delay``. The jitter keeps tasks that
failed together from retrying together. It is a hash of the task's identity and not a random number, so that the
scheduler, a restarted scheduler and a simulation compute the same time. Formula and hash are Airflow's, as observed:
in Airflow the same task has the same delay.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta

MAX_BACKOFF_S = 24 * 60 * 60
"""Longest backoff in seconds: a day (Airflow's MAX_RETRY_DELAY). A plain ``retry_delay`` may be longer."""


def backoff_multiplier(retry_exponential_backoff: bool | float | None) -> float:
    """The factor from one delay to the next. True means 2; None, False, 0 and 1 mean no backoff: returns 0."""
    if retry_exponential_backoff is True:
        return 2.0
    return 0.0 if retry_exponential_backoff in (None, False, 0, 1) else float(retry_exponential_backoff or 0)


def retry_delay(
    *,
    delay_s: float,
    multiplier: float = 0.0,
    max_delay_s: float | None = None,
    dag_id: str,
    task_id: str,
    logical_date: datetime | None,
    failed_try: int,
    map_index: int = -1,
) -> float:
    """Seconds from the end of the failed try (1 = the first) to the next.

    ``multiplier`` is the result of :func:`backoff_multiplier`. ``map_index`` spreads the instances of a mapped task,
    which Airflow retries all at once; -1, an unmapped task, gives Airflow's delay. A ``max_delay_s`` of 0 is no limit,
    like None: Airflow ignores a falsy limit, and timedelta(0) is falsy.
    """
    if multiplier in (0.0, 1.0):
        return delay_s
    base = _base_delay(delay_s, multiplier, failed_try)
    moment = None if logical_date is None else logical_date.astimezone(UTC)
    identity = f"{dag_id}#{task_id}#{moment}#{failed_try}"
    if map_index >= 0:
        identity += f"#{map_index}"
    jitter = int(hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest(), 16) % base
    limit = min(MAX_BACKOFF_S, max_delay_s) if max_delay_s else MAX_BACKOFF_S
    return float(min(base + jitter, limit))


def _base_delay(delay_s: float, multiplier: float, failed_try: int) -> int:
    """Whole seconds, at least one, since the jitter is a remainder modulo it."""
    try:
        return max(1, math.ceil(delay_s * multiplier ** (failed_try - 1)))
    except OverflowError:  # after hundreds of tries; the limit applies in any case
        return MAX_BACKOFF_S


def retry_at(ended_at: datetime, delay_s: float) -> datetime:
    """When the next try is due."""
    return ended_at + timedelta(seconds=delay_s)
