"""Where a follower of the history stands, and when it has to start over.

To whoever keeps it, a cursor is text (``4f1d9a2c-118-7``, which fits the header ``Last-Event-ID``). It holds three
facts: which metastore it is of, the number of the last history row that was seen, and how many other changes were
counted by then. Rows are numbered in the order of their commits (see :mod:`nbflow.store.sql.dialects`), so what comes
after a number is exactly what was not seen. A cursor is refused where that no longer holds:

* it is of another metastore (tables made anew have another id);
* rows after it were deleted since, perhaps before they were seen;
* it is ahead of the history: an older backup was put back.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from nbflow.errors import StaleCursor
from nbflow.store.base import Cursor, History, TaskEvent

_START_OVER = "Start over: read the history without a cursor."
_TEXT = re.compile(r"([0-9a-f]{1,32})-(\d{1,19})-(\d{1,19})")


class Place(NamedTuple):
    """What a cursor says."""

    store_id: str
    seq: int
    other_changes: int

    @property
    def cursor(self) -> Cursor:
        return Cursor(f"{self.store_id}-{self.seq}-{self.other_changes}")


class Head(NamedTuple):
    """What is known of the whole history."""

    store_id: str
    other_changes: int
    """How many commits have changed something that views show and the history does not tell."""
    pruned_seq: int
    """The greatest number among the rows that were deleted."""
    pruned_at: int
    """``other_changes`` when rows were last deleted: who reads from the start meets old rows that are left, and must
    not be sent back to the start because of a deletion that came before."""
    last_seq: int | None
    """The greatest number among the rows that are there."""

    @property
    def end(self) -> Place:
        """Behind all that has happened."""
        return Place(self.store_id, max(self.last_seq or 0, self.pruned_seq), self.other_changes)


def new_store_id() -> str:
    return secrets.token_hex(4)


def place_of(cursor: Cursor | None) -> Place | None:
    """What a cursor says. Raises StaleCursor for text that is none."""
    if cursor is None:
        return None
    found = _TEXT.fullmatch(cursor)
    if found is None:
        raise StaleCursor(f"{cursor!r} is no cursor of a history.", hint=_START_OVER)
    return Place(found[1], int(found[2]), int(found[3]))


def history_of(seen: Place | None, head: Head, events: Sequence[TaskEvent]) -> History:
    """What a store answers: the events that it found after a place (at least one, if there is one). Raises
    StaleCursor."""
    if seen is not None:
        check(seen, head)
    last = events[-1].seq if events else seen.seq if seen else head.end.seq
    return History(
        events=events,
        other_changes=seen is None or seen.other_changes != head.other_changes,
        cursor=Place(head.store_id, last, head.other_changes).cursor,
    )


def check(place: Place, head: Head) -> None:
    """Raise StaleCursor where what comes after a place can no longer be told whole."""
    if place.store_id != head.store_id:
        why = "is of another metastore"
    elif place.seq < head.pruned_seq and place.other_changes < head.pruned_at:
        why = "is older than history that has been deleted since"
    elif place.seq > head.end.seq or place.other_changes > head.other_changes:
        why = "is ahead of the history (was an older backup put back?)"
    else:
        return
    raise StaleCursor(f"The cursor {place.cursor} {why}.", hint=_START_OVER)
