"""How values become text in a store, the same for every store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from nbflow.core.spec import DagSpec
from nbflow.errors import SerializationError
from nbflow.store.base import DagRow, DagVersion, Pool


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))


def dump_json(value: Any) -> str:
    """JSON text, ASCII only (so that no database's encoding matters); datetimes as ISO 8601, sets sorted.

    Raises SerializationError for anything else that JSON cannot say.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"The metastore keeps JSON, and this is none: {error}.") from None


def as_stored(value: Any) -> Any:
    """What :func:`dump_json` and reading back make of a value (tuples become lists, keys become text)."""
    return json.loads(dump_json(value)) if value else value


def clean_text(text: str) -> str:
    """Text that every database takes: Postgres refuses NUL, and no encoding has lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def with_digest(version: DagVersion) -> DagVersion:
    """The version with its digest: SHA-256 over its files, in name order, and its spec."""
    if version.digest:
        return version
    text = json.dumps([sorted(version.files.items()), version.spec.digest], separators=(",", ":"))
    return replace(version, digest=hashlib.sha256(text.encode()).hexdigest())


def seen_again(known: DagVersion, wanted: DagVersion) -> DagVersion:
    """A known version as its file was just read: it may have moved, and the runs that a user's own timetable was asked
    for are those to come now. A reading that asked for none does not take away the ones that are there."""
    spec = wanted.spec if "runs" in wanted.spec.schedule else known.spec
    return replace(known, origin=wanted.origin, fileloc=wanted.fileloc, cell=wanted.cell, spec=spec)


def dag_row(version: DagVersion, old: DagRow | None, *, paused: bool, now: datetime) -> DagRow:
    """The row of a DAG whose schedule follows ``version`` from now on."""
    spec = version.spec
    row = old or DagRow(dag_id=version.dag_id, version=version.number, fileloc=version.fileloc, paused=paused)
    return replace(
        row,
        version=version.number,
        fileloc=version.fileloc,
        stale=False,
        schedule_text=spec.schedule_text,
        timezone=spec.timezone,
        tags=spec.tags,
        owners=spec.owners,
        description=spec.description,
        last_parsed_at=now,
    )


def unscheduled_row(version: DagVersion) -> DagRow:
    """The row of a DAG that no schedule follows."""
    assert version.created_at is not None
    return dag_row(version, None, paused=False, now=version.created_at)


def looks_at_past(dag: DagSpec) -> bool:
    """Whether some task of the DAG needs to know how the run before went."""
    return any(task.depends_on_past or task.wait_for_downstream for task in dag.tasks.values())


DEFAULT_POOL = Pool(name="default_pool", slots=128, description="Default pool")
"""Airflow's default pool: it always exists, and 128 slots is its size there too."""
