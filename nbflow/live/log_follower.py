"""A try's log as it grows (``logs -f``).

The feed tells when a try begins, goes on and ends; its lines are told by nobody, since a child writes them straight to
the file. So the file is looked at now and then, which costs no statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbflow.execution.logs import LogTail
from nbflow.live.feed import Feed
from nbflow.live.shared_views import Trouble
from nbflow.views.task_try import TaskTryQuery, TaskTryView

GROWTH_SECONDS = 0.25
"""How often the file is looked at. So long it is looked at too after the try has ended: its supervisor still writes
what memory it took."""


def follow_log(feed: Feed, query: TaskTryQuery) -> Iterator[str]:
    """The text of a try's log from its beginning, piece by piece, until the try has ended. It waits for a try that has
    not begun. Ends early if the feed is closed."""
    tail: LogTail | None = None
    over = False
    with feed.watch(query) as watch:
        while not watch.closed:
            message = watch.next(GROWTH_SECONDS)
            if message is not None and not isinstance(message, Trouble):
                view = message.view
                assert isinstance(view, TaskTryView)
                over = view.over
                if tail is None and view.log_path is not None:
                    tail = LogTail(Path(view.log_path))
            while tail is not None and (text := tail.read()):
                yield text
            if over and message is None:
                return
