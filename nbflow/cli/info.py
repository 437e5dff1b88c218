"""version, info, cheat-sheet."""

from __future__ import annotations

from nbflow import __version__
from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.main import GROUPS, commands_of
from nbflow.cli.terminal_command import OUTPUT, terminal_command


def version(call: Call) -> None:
    print(__version__)


def info(call: Call) -> None:
    import platform
    import sys
    from importlib import metadata

    from nbflow.store import open_store

    settings = call.settings
    rows = {
        "nbflow": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "home": settings.home,
        "dags_folder": settings.core.dags_folder,
        "logs_folder": settings.logging.base_log_folder,
        "executor": settings.core.executor,
        "parallelism": settings.core.parallelism,
        "metastore": open_store(settings.database.sql_alchemy_conn).url,
    }
    if call.args.anonymize:
        from pathlib import Path

        user_home = str(Path.home())
        rows = {name: str(value).replace(user_home, "~") for name, value in rows.items()}
    for name in ("sqlalchemy", "alembic", "pendulum", "croniter", "jinja2", "jupyterlab", "papermill", "psycopg"):
        try:
            rows[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            rows[name] = "not installed"
    call.show_one(rows)


def cheat_sheet(call: Call) -> None:
    rows = [
        {"command": f"nbflow {command.name}", "what": command.help}
        for group in GROUPS
        for command in commands_of(group)
    ]
    output.show(rows, call.args.output)


COMMANDS = (
    terminal_command("version", run=version),
    terminal_command("info", OUTPUT, run=info),
    terminal_command("cheat-sheet", OUTPUT, run=cheat_sheet),
)
