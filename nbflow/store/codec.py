"""Conversions that every store shares: values to JSON text, versions to rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from nbflow.core.spec import DagSpec
from nbflow.errors import SerializationError, UnreadableRow
from nbflow.store.base import DagRow, DagVersion, Pool


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))


def dump_json(value: Any) -> str:
    """JSON text, ASCII only (independent of the database's encoding); datetimes as ISO 8601, sets sorted.

    Raises SerializationError for any other value that JSON cannot express.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"The metastore stores JSON, and this value is not JSON: {error}.") from None


def as_stored(value: Any) -> Any:
    """The value as it is read back after :func:`dump_json` (tuples become lists, keys become text)."""
    return json.loads(dump_json(value)) if value else value


def clean_text(text: str) -> str:
    """Text that every database accepts: Postgres refuses NUL, and UTF-8 cannot encode lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def with_digest(version: DagVersion) -> DagVersion:
    """The version with its digest: SHA-256 over its files, in name order, and its spec."""
    if version.digest:
        return version
    text = json.dumps([sorted(version.files.items()), version.spec.digest], separators=(",", ":"))
    return replace(version, digest=hashlib.sha256(text.encode()).hexdigest())


def update_stored(stored: DagVersion, parsed: DagVersion) -> DagVersion:
    """A stored version, updated from the latest parse of its file: the file may have moved, and a custom timetable has
    other next runs. If the parse computed no runs, the stored runs remain."""
    spec = parsed.spec if "runs" in parsed.spec.schedule else stored.spec
    return replace(stored, origin=parsed.origin, fileloc=parsed.fileloc, cell=parsed.cell, spec=spec)


def dag_row(version: DagVersion, old: DagRow | None, *, paused: bool, now: datetime) -> DagRow:
    """The row of a DAG whose schedule follows ``version``, with the other columns of ``old``."""
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
    """The row of a DAG that is not scheduled, such as a kernel's."""
    assert version.created_at is not None
    return dag_row(version, None, paused=False, now=version.created_at)


def read_spec(dag_id: str, stored: Any) -> DagSpec:
    """The spec of a stored version. Raises UnreadableRow."""
    try:
        return DagSpec.from_dict(stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableRow(
            f"The spec of DAG {dag_id} cannot be read ({type(error).__name__}: {error}).",
            hint="Another version of nbflow wrote it, or it was changed by hand.",
        ) from None


def needs_previous_run(dag: DagSpec) -> bool:
    """Whether a task of the DAG depends on the previous run."""
    return any(task.depends_on_past or task.wait_for_downstream for task in dag.tasks.values())


DEFAULT_POOL = Pool(name="default_pool", slots=128, description="Default pool")
"""Airflow's default pool: it always exists, with 128 slots as in Airflow."""
