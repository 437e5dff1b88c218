"""The metastore's tables: making, cleaning and emptying them. What deletes rows or secrets' keys stands in the audit
log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from nbflow.services.operations import Operations
from nbflow.store.base import Store


def migrate_tables(store: Store) -> None:
    """Make the tables, or bring them up to date."""
    store.migrate()


def downgrade_tables(store: Store, revision: str) -> None:
    """Take the tables back to an older revision; "base": to none at all."""
    store.downgrade(revision)


def empty(store: Store, *, make_again: bool = True) -> None:
    """Delete everything in a metastore, archives too."""
    store.migrate()  # an older database too is taken down by its own steps
    store.drop_archives(list(store.archives()))
    store.downgrade("base")
    if make_again:
        store.migrate()


def clean(
    by: Operations,
    before: datetime,
    *,
    dag_ids: Sequence[str],
    tables: Sequence[str],
    archive: bool,
    dry_run: bool = False,
) -> Mapping[str, int]:
    """Delete what ended before a moment; returns how many rows of each table. With ``archive`` they are kept aside."""
    now = by.clock.now()
    kept_as = now if archive and not dry_run else None
    gone = by.store.prune(before=before, dag_ids=dag_ids, tables=tables, archive=kept_as, dry_run=dry_run)
    if not dry_run:
        detail = {"before": before.isoformat(), "rows": sum(gone.values()), "archived": archive}
        by.store.audit("db_clean", actor=by.actor, now=now, detail=detail)
    return gone


def drop_archives(by: Operations, names: Sequence[str]) -> None:
    """Delete what :func:`clean` kept."""
    by.store.drop_archives(names)
    by.store.audit("db_drop_archived", actor=by.actor, now=by.clock.now(), detail={"archives": list(names)})


def rotate_secrets(by: Operations) -> int:
    """Encrypt all secrets with the newest key; returns how many."""
    count = by.store.rotate_secrets()
    by.store.audit("rotate_fernet_key", actor=by.actor, now=by.clock.now(), detail={"secrets": count})
    return count
