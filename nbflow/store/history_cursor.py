"""Cursors: positions in the history, and when a cursor is stale.

For clients a cursor is opaque text (``4f1d9a2c-118-7``, short enough for the header ``Last-Event-ID``). It contains the
id of the metastore, the number of the last history row that was read, and the count of other changes at that time. Rows
are numbered in the order of their commits (see :mod:`nbflow.store.sql.dialects`), so the rows after that number are
exactly those that were not read. A cursor is stale if this is no longer true:

* it belongs to another metastore (newly created tables have another id);
* rows after it have been deleted, possibly before they were read;
* it is ahead of the history, because an older backup was restored.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from nbflow.errors import StaleCursor
from nbflow.store.base import Cursor, History, TaskEvent

_RESTART = "Read the history from its start, without a cursor."
_PATTERN = re.compile(r"([0-9a-f]{1,32})-(\d{1,19})-(\d{1,19})")


class Position(NamedTuple):
    """The content of a cursor."""

    store_id: str
    seq: int
    other_changes: int

    @property
    def cursor(self) -> Cursor:
        return Cursor(f"{self.store_id}-{self.seq}-{self.other_changes}")


class Head(NamedTuple):
    """The bounds of the history, and the counts that show whether a cursor is stale."""

    store_id: str
    other_changes: int
    """Number of commits that changed something that views show and the history does not contain."""
    pruned_seq: int
    """The greatest number of a deleted row."""
    pruned_at: int
    """``other_changes`` at the last deletion. A client that started to read after the deletion may still be at an older
    row than ``pruned_seq``; its cursor is not stale."""
    last_seq: int | None
    """The greatest number of an existing row."""

    @property
    def end(self) -> Position:
        """The position after the last event."""
        return Position(self.store_id, max(self.last_seq or 0, self.pruned_seq), self.other_changes)


def new_store_id() -> str:
    return secrets.token_hex(4)


def parse_cursor(cursor: Cursor | None) -> Position | None:
    """The content of a cursor. Raises StaleCursor for other text."""
    if cursor is None:
        return None
    match = _PATTERN.fullmatch(cursor)
    if match is None:
        raise StaleCursor(f"{cursor!r} is not a history cursor.", hint=_RESTART)
    return Position(match[1], int(match[2]), int(match[3]))


def make_history(position: Position | None, head: Head, events: Sequence[TaskEvent]) -> History:
    """The result of a store's ``history``, from the events after ``position`` (at least one, if there is one). Raises
    StaleCursor."""
    if position is not None:
        check(position, head)
    last = events[-1].seq if events else position.seq if position else head.end.seq
    return History(
        events=events,
        other_changes=position is None or position.other_changes != head.other_changes,
        cursor=Position(head.store_id, last, head.other_changes).cursor,
    )


def check(position: Position, head: Head) -> None:
    """Raise StaleCursor if the history after the position is not complete."""
    if position.store_id != head.store_id:
        reason = "belongs to another metastore"
    elif position.seq < head.pruned_seq and position.other_changes < head.pruned_at:
        reason = "is older than events that have been deleted"
    elif position.seq > head.end.seq or position.other_changes > head.other_changes:
        reason = "is ahead of the history (was an older backup restored?)"
    else:
        return
    raise StaleCursor(f"The cursor {position.cursor} {reason}.", hint=_RESTART)
