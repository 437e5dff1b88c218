"""Follows the log of a try as it grows (``logs -f``).

The feed reports the start and the end of a try. The child writes lines directly to the file, so the follower polls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from pathlib import Path

from nbflow.execution.logs import LogTail
from nbflow.live.feed import Feed
from nbflow.live.shared_views import Trouble
from nbflow.views.task_log import LogLine, log_lines
from nbflow.views.task_try import TaskTryQuery, TaskTryView

GROWTH_SECONDS = 0.25
"""Poll interval of the file. The file is also polled for this long after the try has ended: its supervisor still writes
the memory usage."""


def _nothing() -> None:
    pass


def follow_lines(
    feed: Feed, query: TaskTryQuery, zone: tzinfo, *, search: str = "", on_look: Callable[[], None] = _nothing
) -> Iterator[LogLine]:
    """The lines of :func:`follow_log` that contain ``search``, each as soon as it is complete."""
    for line in log_lines(_whole_lines(follow_log(feed, query, on_look=on_look)), zone):
        if line.contains(search):
            yield line


def _whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        whole, newline, rest = (rest + piece).rpartition("\n")
        yield from (whole + newline).splitlines()
    yield from rest.splitlines()


def follow_log(feed: Feed, query: TaskTryQuery, *, on_look: Callable[[], None] = _nothing) -> Iterator[str]:
    """Yield the text of a try's log from its beginning, in pieces, until the try has ended. Waits for a try that has
    not started. Ends early if the feed is closed. ``on_look`` is called at each poll of the file, also when no line was
    written; its exception ends the generator."""
    tail: LogTail | None = None
    over = False
    with feed.watch(query) as watch:
        while not watch.closed:
            message = watch.next(GROWTH_SECONDS)
            on_look()
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
