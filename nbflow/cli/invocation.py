"""One call of a command: its parsed arguments, and the settings, app and context, which are created on first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from nbflow.cli import output
from nbflow.command_arguments import UsageError as UsageError
from nbflow.command_arguments import Values

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.commands.context import Context
    from nbflow.config import Settings
    from nbflow.services.operations import Operations
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")


class Call:
    """A call of a terminal command. ``main`` closes it. ``migrates``: see :class:`nbflow.commands.base.Command`;
    ``waits``: see :class:`nbflow.cli.terminal_command.TerminalCommand`."""

    def __init__(self, args: Values, environ: Mapping[str, str], *, migrates: bool = True, waits: bool = False) -> None:
        self.args, self.environ, self._migrates, self._waits = args, environ, migrates, waits
        self._open = ExitStack()

    def close(self) -> None:
        """Close the app, if it was opened."""
        self._open.close()

    # --- nbflow

    @cached_property
    def settings(self) -> Settings:
        """The settings of NBFLOW_HOME, which the app uses too."""
        from nbflow.config import Settings

        return Settings.load(self.environ)

    @cached_property
    def app(self) -> App:
        """The app of NBFLOW_HOME. Opening it migrates the tables on SQLite and checks them on Postgres; it leaves them
        as they are for a command that works on any tables."""
        from nbflow.app import App

        def opened() -> App:
            return App.open(environ=self.environ, settings=self.settings, migrate=self._migrates)

        if not self._waits:
            return self._open.enter_context(opened())
        from nbflow.services.scheduler_process import wait_for_store

        return self._open.enter_context(wait_for_store(opened, warn=output.warn))

    @cached_property
    def operations(self) -> Operations:
        """Operations with the user of the terminal as the actor."""
        return self.app.operations(self.actor)

    @cached_property
    def context(self) -> Context:
        """The context of declared commands, for a terminal."""
        from nbflow.cli.find_dag import FolderDags
        from nbflow.commands.context import Context
        from nbflow.commands.surface_syntax import Surface

        return Context(app=self.app, actor=self.actor, dags=FolderDags(self), surface=Surface.TERMINAL, zone=self.zone)

    @property
    def zone(self) -> tzinfo:
        """Time zone of dates without a time zone."""
        from zoneinfo import ZoneInfo

        name = self.settings.core.default_timezone
        return ZoneInfo("UTC" if name.lower() == "utc" else name)

    @property
    def actor(self) -> str:
        """The actor in the event history and audit log."""
        import getpass

        try:
            return f"user:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user may have no name
            return f"user:{os.getuid()}"

    def now(self) -> datetime:
        """The time of the app's clock."""
        return self.app.clock.now()

    def fetch(self, query: Query[V]) -> V:
        """The current view of a query."""
        from nbflow.views import fetch

        return fetch(self.app.store, query, self.now(), self.settings)

    # --- arguments

    def date(self, text: str | None) -> datetime | None:
        """Parse a date; a date without a time zone is in the default time zone. Raises UsageError."""
        return self.context.date(text)

    def confirm(self, question: str) -> bool:
        """Whether ``-y`` is given or the user answers yes. Raises UsageError if stdin is not a terminal."""
        if self.args.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Standard input is not a terminal.", hint="Confirm with -y.")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        confirmed = sys.stdin.readline().strip().lower() in ("y", "yes")
        if not confirmed:
            output.note("Nothing was changed.")
        return confirmed

    # --- results

    def show(self, rows: Iterable[output.Row], *, empty: str = "Nothing to show.", columns: Iterable[str] = ()) -> None:
        """Print a listing in the format of ``--output``."""
        output.show(rows, self.args.output, empty=empty, columns=tuple(columns))

    def show_one(self, row: output.Row) -> None:
        """Print one object in the format of ``--output``."""
        output.show_one(row, self.args.output)
