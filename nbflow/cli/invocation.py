"""One call of a command: its parsed arguments, and what it may use of nbflow, made when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from nbflow.arguments import UsageError as UsageError
from nbflow.arguments import Values
from nbflow.cli import output

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.commands.context import Context
    from nbflow.config import Settings
    from nbflow.services.operations import Operations
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")


class Call:
    """See the head of this module. Closed by ``main``."""

    def __init__(self, args: Values, environ: Mapping[str, str]) -> None:
        self.args, self.environ = args, environ
        self._open = ExitStack()

    def close(self) -> None:
        """Let go of what was opened."""
        self._open.close()

    # --- nbflow

    @cached_property
    def settings(self) -> Settings:
        """The settings of NBFLOW_HOME; the same as the App's."""
        from nbflow.config import Settings

        return Settings.load(self.environ)

    @cached_property
    def app(self) -> App:
        """NBFLOW_HOME, opened; its tables are made or brought up to date (of Postgres only checked)."""
        from nbflow.app import App

        return self._open.enter_context(App.open(environ=self.environ, settings=self.settings))

    @cached_property
    def operations(self) -> Operations:
        """All that may be asked, in the name of the user at the terminal."""
        return self.app.operations(self.actor)

    @cached_property
    def context(self) -> Context:
        """What a command may use, in a terminal."""
        from nbflow.cli.find_dag import FolderDags
        from nbflow.commands.context import Context
        from nbflow.commands.way_out import Surface

        return Context(app=self.app, actor=self.actor, dags=FolderDags(self), surface=Surface.TERMINAL, zone=self.zone)

    @property
    def zone(self) -> tzinfo:
        """Of dates that name none."""
        from zoneinfo import ZoneInfo

        name = self.settings.core.default_timezone
        return ZoneInfo("UTC" if name.lower() == "utc" else name)

    @property
    def actor(self) -> str:
        """Who stands in the history."""
        import getpass

        try:
            return f"user:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user may have no name
            return f"user:{os.getuid()}"

    def now(self) -> datetime:
        """The time by the App's clock."""
        return self.app.clock.now()

    def fetch(self, query: Query[V]) -> V:
        """The view that a query selects, now."""
        from nbflow.views import fetch

        return fetch(self.app.store, query, self.now(), self.settings)

    # --- arguments

    def date(self, text: str | None) -> datetime | None:
        """A date as typed, in the default time zone where it names none."""
        return self.context.date(text)

    def sure(self, question: str) -> bool:
        """Whether the user wants it: ``-y``, or a yes at the prompt. With no terminal to ask, it is a usage error."""
        if self.args.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(f"{question} There is no terminal to ask.", hint="Say so with -y.")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
        if not agreed:
            output.say("Nothing was changed.")
        return agreed

    # --- results

    def show(self, rows: Iterable[output.Row], *, empty: str = "Nothing to show.", columns: Iterable[str] = ()) -> None:
        """Print a listing in the form asked for."""
        output.show(rows, self.args.output, empty=empty, columns=tuple(columns))

    def show_one(self, row: output.Row) -> None:
        """Print one object in the form asked for."""
        output.show_one(row, self.args.output)
