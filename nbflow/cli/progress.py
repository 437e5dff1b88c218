"""Progress on a terminal's stderr. Without a terminal nothing is printed and rich is not imported.

A ``Progress`` bar is redrawn in place, by ``at``, not by a thread: a process that forks must not hold rich's lock in
another thread. Log lines that are written while a bar is shown go to ``Progress.log``, which prints them above the bar.

``print_step`` prints a line that is never redrawn. Tests of DAGs use it: their tasks run in this process, print to the
same terminal and may stop in a debugger.
"""

from __future__ import annotations

import os
import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from nbflow.cli.output import harmless

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console
    from rich.progress_bar import ProgressBar

BAR_WIDTH = 30
COUNTS_WIDTH = 42
"""Columns for counts and times, which stand behind the bar."""


def is_shown() -> bool:
    """Whether stderr is a terminal on which a line can be redrawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class Progress:
    """A bar: ``with Progress(60, "runs") as progress: progress.at(12, failed=2)``. It is erased at the end unless
    ``stays``. A total of 0 shows no bar."""

    def __init__(self, total: int, noun: str, *, stays: bool = True) -> None:
        self.total, self.noun, self.stays = total, noun, stays
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Self:
        if self.total and is_shown():
            self._bar = _live(self.total, self.noun, stays=self.stays)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()  # shows the cursor again
            self._bar = None

    def at(self, done: int, failed: int = 0) -> None:
        """Redraw the bar: ``done`` of the total, ``failed`` of these."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, failed=failed, refresh=True)

    @property
    def log(self) -> TextIO:
        """The stream for log lines while the bar is shown."""
        return sys.stderr if self._bar is None else _AboveBar(self._bar.console)  # type: ignore[return-value]


class _AboveBar:
    """A stream of whole lines, which rich prints above the bar."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        from rich.text import Text

        self.console.print(Text(text.removesuffix("\n")), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def print_step(done: int, total: int, noun: str, name: str, state: str) -> None:
    """Print that ``name`` ended in ``state``, as number ``done`` of ``total``."""
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
    row.add_row(_bar_of(done, total, 0), count, Text.assemble(f"{harmless(name)} ", styled(state, "state", console)))
    console.print(row)


def _bar_of(done: int, total: int, failed: int) -> ProgressBar:
    """Return the bar alone. It is red from the first failure on."""
    from rich.progress_bar import ProgressBar

    from nbflow.cli.terminal_tables import palette

    tints, accent = palette().states, palette().accent
    line = tints["failed"].line if failed else accent
    width = max(min(BAR_WIDTH, shutil.get_terminal_size().columns - COUNTS_WIDTH), 8)
    finished = tints["failed" if failed else "success"].line
    return ProgressBar(total=total, completed=done, width=width, complete_style=line, finished_style=finished)


def _live(total: int, noun: str, *, stays: bool) -> rich.progress.Progress:
    """Return the bar with counts, elapsed and remaining time."""
    import rich.progress
    from rich.text import Text

    from nbflow.cli.terminal_tables import console_on, palette

    class Bar(rich.progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> ProgressBar:  # type: ignore[override]
            return _bar_of(int(task.completed), total, task.fields["failed"])

    class Counts(rich.progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> Text:
            failed = task.fields["failed"]
            red = (f", {failed} failed", palette().states["failed"].line) if failed else ""
            return Text.assemble(f"{int(task.completed)}/{total} {noun}", red)

    live = rich.progress.Progress(
        Bar(),
        Counts(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console_on(sys.stderr),
        auto_refresh=False,
        transient=not stays,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    live.add_task("", total=total, failed=0)
    return live
