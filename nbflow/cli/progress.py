"""How far something is, on a terminal's stderr. Elsewhere nothing is shown, and rich is not imported.

A bar has no thread of its own, as processes are forked beside it: it is drawn when somebody calls ``at``. Whatever else
is written meanwhile goes through ``Progress.log``, above the bar, so that neither tears the other.

``step`` writes a line that stays where it is. It serves runs in this process, whose tasks print what they like and may
stop in a debugger: a bar that is drawn again would be in their way.
"""

from __future__ import annotations

import os
import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console
    from rich.progress_bar import ProgressBar

BAR_WIDTH = 30
BESIDE_THE_BAR = 42
"""Columns that counts and times take."""


def wanted() -> bool:
    """Whether stderr is a terminal that can draw a line anew."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class Progress:
    """``with Progress(60, "runs") as progress: progress.at(12, failed=2)``. ``stays``: left standing at the end."""

    def __init__(self, total: int, noun: str, *, stays: bool = True) -> None:
        self.total, self.noun, self.stays = total, noun, stays
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Self:
        if self.total and wanted():
            self._bar = _live(self.total, self.noun, stays=self.stays)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()  # else the cursor stays hidden
            self._bar = None

    def at(self, done: int, failed: int = 0) -> None:
        """So many of the total are done, and of these so many failed."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, failed=failed, refresh=True)

    @property
    def log(self) -> TextIO:
        """Where log lines go meanwhile."""
        return sys.stderr if self._bar is None else _Above(self._bar.console)  # type: ignore[return-value]


class _Above:
    """A stream for whole lines, which are written above the bar."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        from rich.text import Text

        self.console.print(Text(text.removesuffix("\n")), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Lines are written at once."""


def step(done: int, total: int, noun: str, what: str, state: str) -> None:
    """A line that says that ``what`` has ended in a state, as the ``done``-th of ``total``."""
    if not wanted():
        return
    from rich.table import Table
    from rich.text import Text

    from nbflow.cli.output import harmless
    from nbflow.cli.terminal_tables import console_on, styled

    console = console_on(sys.stderr)
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    count = f"{str(done).rjust(len(str(total)))}/{total} {noun}"
    row.add_row(_filled(done, total, 0), count, Text.assemble(f"{harmless(what)} ", styled(state, "state", console)))
    console.print(row)


def _filled(done: int, total: int, failed: int) -> ProgressBar:
    """The bar itself, as wide as it may be; red from the first failure on."""
    from rich.progress_bar import ProgressBar

    from nbflow.cli.terminal_tables import palette

    tints, accent = palette().states, palette().accent
    line = tints["failed"].line if failed else accent
    width = max(min(BAR_WIDTH, shutil.get_terminal_size().columns - BESIDE_THE_BAR), 8)
    finished = tints["failed" if failed else "success"].line
    return ProgressBar(total=total, completed=done, width=width, complete_style=line, finished_style=finished)


def _live(total: int, noun: str, *, stays: bool) -> rich.progress.Progress:
    """The bar with counts, time that went by and time that is left."""
    import rich.progress
    from rich.text import Text

    from nbflow.cli.terminal_tables import console_on, palette

    class Bar(rich.progress.ProgressColumn):
        def render(self, task: rich.progress.Task) -> ProgressBar:  # type: ignore[override]
            return _filled(int(task.completed), total, task.fields["failed"])

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
