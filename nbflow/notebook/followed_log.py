"""``%dag logs -f``: displays a log as it grows.

The cell runs until the try has ended, because nbclient drops updates of a display after the end of its cell. Each
update fetches the view of ``%dag logs`` again, so that the saved notebook holds the same output as ``%dag logs``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nbflow.live.log_follower import follow_log
from nbflow.notebook.displayable import PICTURE_SECONDS, Shown, display_bundle, display_data, execution_count
from nbflow.notebook.error_display import as_one_line
from nbflow.ui.view_bundles import log_bundle
from nbflow.views.task_log import TaskLogQuery

if TYPE_CHECKING:
    from nbflow.notebook.session import Session
    from nbflow.views.task_try import TaskTryQuery


class FollowedLog(Shown):
    """The log as displayed last. As the result of the cell that followed it, it is not displayed again."""

    def __init__(self, session: Session, query: TaskLogQuery) -> None:
        self._session, self._query = session, query
        self._displayed_in = execution_count()
        self._display: Any = None

    def update(self) -> None:
        """Fetch the log and update the display."""
        view = self._session.fetch(self._query)
        super().__init__([line.message for line in view.lines], log_bundle(view))
        if self._display is not None:
            self._display.update(display_data(self.bundle), raw=True)
        elif self._displayed_in is not None:
            self._display = display_bundle(self.bundle, display_id=True)

    def _ipython_display_(self) -> None:
        if execution_count() != self._displayed_in:
            display_bundle(self.bundle)


def followed_log(session: Session, query: TaskTryQuery, search: str = "") -> FollowedLog:
    """Display the log of a try until the try has ended. Outside IPython, nothing is displayed before the end.

    An interrupt (KeyboardInterrupt) ends the cell with the log as displayed last; the task keeps running.
    """
    key = {name: getattr(query, name) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
    log = FollowedLog(session, TaskLogQuery(**key, search=search))
    try:
        log.update()
        for _ in follow_log(session.feed, query):
            log.update()
            time.sleep(PICTURE_SECONDS)
    except KeyboardInterrupt:
        log.update()
        raise as_one_line(KeyboardInterrupt(f"Stopped following {query.key}; the task is not affected.")) from None
    log.update()
    return log
