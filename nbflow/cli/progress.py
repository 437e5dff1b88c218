"""Progress on a terminal's stderr. Without a terminal, nothing is printed and rich is not imported.

A ``Progress`` bar is redrawn in place by ``update``, not by a thread: if another thread held rich's lock during a fork,
the child would deadlock. While a bar is shown, log lines go to ``Progress.log``, which prints them above the bar.

``print_step`` prints a line that is never redrawn. DAG tests use it, since their tasks run in this process, print to
the same terminal, and may stop in a debugger.
"""

from __future__ import annotations

import os
import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from nbflow.cli.output import printable

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console
    from rich.progress_bar import ProgressBar

BAR_WIDTH = 30
COUNTS_WIDTH = 42
"""Columns of the counts and times to the right of the bar."""


def is_shown() -> bool:
    """Whether stderr is a terminal on which a line can be redrawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class Progress:
    """A bar: ``with Progress(60, "runs") as progress: progress.update(12, failed=2)``. A ``transient`` bar is erased at
    the end. A total of 0 shows no bar."""

    def __init__(self, total: int, noun: str, *, transient: bool = False) -> None:
        self.total, self.noun, self.transient = total, noun, transient
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Self:
        if self.total and is_shown():
            self._bar = _rich_progress(self.total, self.noun, transient=self.transient)
            self._bar.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, done: int, failed: int = 0) -> None:
        """Redraw the bar. ``done``: number of ended items; ``failed``: number of these that failed."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, failed=failed, refresh=True)

    @property
    def log(self) -> TextIO:
        """The stream for log lines while the bar is shown."""
        return sys.stderr if self._bar is None else _AboveBar(self._bar.console)  # type: ignore[return-value]


class _AboveBar:
    """A text stream for whole lines, which rich prints above the bar."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        from rich.text import Text

        self.console.print(Text(text.removesuffix("\n")), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: no text is buffered."""


def print_step(done: int, total: int, noun: str, name: str, state: str) -> None:
    """Print that ``name`` has ended in ``state``, as number ``done`` of ``total``."""
    if not is_shown():
        return
    from rich.table import Table
    from rich.text import Text

    from nbflow.cli.terminal_tables import console_on, styled

    console = console_on(sys.stderr)
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    count = f"{str(done).rjust(len(str(total)))}/{total} {noun}"
    row.add_row(
        _progress_bar(done, total, 0), count, Text.assemble(f"{printable(name)} ", styled(state, "state", console))
    )
    console.print(row)


def _progress_bar(done: int, total: int, failed: int) -> ProgressBar:
    """The bar without counts and times. It is red if any item failed."""
    from rich.progress_bar import ProgressBar

    from nbflow.cli.terminal_tables import palette

    states, accent = palette().states, palette().accent
    complete = states["failed"].line if failed else accent
    width = max(min(BAR_WIDTH, shutil.get_terminal_size().columns - COUNTS_WIDTH), 8)
    finished = states["failed" if failed else "success"].line
    return ProgressBar(total=total, completed=done, width=width, complete_style=complete, finished_style=finished)


def _rich_progress(total: int, noun: str, *, transient: bool) -> rich.progress.Progress:
    """The bar with counts, elapsed time and remaining time."""
    import rich.progress
    from rich.text import Text

    from nbflow.cli.terminal_tables import console_on, palette

    class Bar(rich.progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> ProgressBar:  # type: ignore[override]
            return _progress_bar(int(task.completed), total, task.fields["failed"])

    class Counts(rich.progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> Text:
            failed = task.fields["failed"]
            red = (f", {failed} failed", palette().states["failed"].line) if failed else ""
            return Text.assemble(f"{int(task.completed)}/{total} {noun}", red)

    progress = rich.progress.Progress(
        Bar(),
        Counts(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console_on(sys.stderr),
        auto_refresh=False,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    progress.add_task("", total=total, failed=0)
    return progress
