"""The metastore's tables: creating, migrating, cleaning and emptying them. Deletions of rows and rotations of the
Fernet key are written to the audit log."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nbflow.errors import NbflowError
from nbflow.services.operations import Operations
from nbflow.store.base import Store


def migrate_tables(store: Store) -> None:
    """Create or upgrade the tables."""
    store.migrate()


def downgrade_tables(store: Store, revision: str) -> None:
    """Downgrade the tables to an older revision ("base": remove them)."""
    store.downgrade(revision)


def empty(store: Store, *, recreate: bool = True) -> None:
    """Delete everything in a metastore, including archives. With ``recreate`` it has empty tables afterwards."""
    store.migrate()  # so that the downgrade below starts at the newest revision
    store.drop_archives(list(store.archives()))
    store.downgrade("base")
    if recreate:
        store.migrate()


def clean(
    operations: Operations,
    before: datetime,
    *,
    dag_ids: Sequence[str],
    tables: Sequence[str],
    archive: bool,
    dry_run: bool = False,
) -> Mapping[str, int]:
    """Delete rows older than ``before``; returns the number of rows per table. With ``archive`` they are archived."""
    now = operations.clock.now()
    archive_time = now if archive and not dry_run else None
    deleted = operations.store.prune(
        before=before, dag_ids=dag_ids, tables=tables, archive=archive_time, dry_run=dry_run
    )
    if not dry_run:
        detail = {"before": before.isoformat(), "rows": sum(deleted.values()), "archived": archive}
        operations.store.audit("db_clean", actor=operations.actor, now=now, detail=detail)
    return deleted


def drop_archives(operations: Operations, names: Sequence[str]) -> None:
    """Drop archives that :func:`clean` created."""
    operations.store.drop_archives(names)
    operations.store.audit(
        "db_drop_archived", actor=operations.actor, now=operations.clock.now(), detail={"archives": list(names)}
    )


def export_archive(store: Store, name: str, path: Path) -> int:
    """Write the rows of an archive to a CSV file; returns their number. The file is written atomically, with mode 0600,
    since it contains the conf of runs. Raises NbflowError if it cannot be written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                count = _write_csv(csv.writer(file), store.archived(name))
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NbflowError(f"Cannot write {path}: {error.strerror}.") from None
    return count


def _write_csv(writer: Any, lines: Iterator[Sequence[Any]]) -> int:
    """Write the names of the columns and the rows; returns the number of rows."""
    writer.writerow(next(lines))
    count = 0
    for line in lines:
        writer.writerow([_csv_cell(value) for value in line])
        count += 1
    return count


def _csv_cell(value: Any) -> Any:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def rotate_secrets(operations: Operations) -> int:
    """Encrypt all secrets with the newest key; returns the number of secrets."""
    count = operations.store.rotate_secrets()
    operations.store.audit(
        "rotate_fernet_key", actor=operations.actor, now=operations.clock.now(), detail={"secrets": count}
    )
    return count
