"""A DAG version as every store writes and reads it: its digest, its spec, and the row of its DAG."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from nbflow.core.spec import DagSpec
from nbflow.errors import UnreadableRow
from nbflow.store.base import DagRow, DagVersion


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
