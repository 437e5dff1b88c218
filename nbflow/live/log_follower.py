"""Follows the log of a try as it grows (``logs -f``).

The feed reports the start and the end of a try. The task's process writes directly to the file, which the follower
polls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from pathlib import Path

from nbflow.execution.logs import LogTail
from nbflow.live.feed import Feed
from nbflow.live.shared_views import FetchError
from nbflow.views.task_log import LogLine, log_lines
from nbflow.views.task_try import TaskTryQuery, TaskTryView

POLL_SECONDS = 0.25
"""Poll interval of the file. The file is polled once more after the try has ended, since its supervisor then writes the
memory usage."""


def _no_op() -> None:
    pass


def follow_lines(
    feed: Feed, query: TaskTryQuery, zone: tzinfo, *, search: str = "", on_poll: Callable[[], None] = _no_op
) -> Iterator[LogLine]:
    """The lines of :func:`follow_log` that contain ``search``, each as soon as it is complete."""
    for line in log_lines(_complete_lines(follow_log(feed, query, on_poll=on_poll)), zone):
        if line.contains(search):
            yield line


def _complete_lines(chunks: Iterable[str]) -> Iterator[str]:
    partial = ""
    for chunk in chunks:
        complete, newline, partial = (partial + chunk).rpartition("\n")
        yield from (complete + newline).splitlines()
    yield from partial.splitlines()


def follow_log(feed: Feed, query: TaskTryQuery, *, on_poll: Callable[[], None] = _no_op) -> Iterator[str]:
    """Yield the text of a try's log from its beginning, in chunks, until the try has ended. Waits for a try that has
    not started. Ends early if the feed is closed. ``on_poll`` is called at each poll of the file, also when no line was
    written; its exception ends the generator."""
    tail: LogTail | None = None
    finished = False
    with feed.watch(query) as watch:
        while not watch.closed:
            message = watch.next(POLL_SECONDS)
            on_poll()
            if message is not None and not isinstance(message, FetchError):
                view = message.view
                assert isinstance(view, TaskTryView)
                finished = view.finished
                if tail is None and view.log_path is not None:
                    tail = LogTail(Path(view.log_path))
            while tail is not None and (text := tail.read()):
                yield text
            if finished and message is None:
                return
