"""The entry point: parses the command line, runs the command, and prints errors as one line.

Exit codes: 0 success; 1 error or not confirmed; 2 invalid command line; 130 interrupted.

Only the module of the command is imported: ``nbflow version`` loads neither settings nor metastore.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from nbflow.cli import output
from nbflow.cli.invocation import Call, UsageError
from nbflow.cli.terminal_command import TerminalCommand, generated_commands
from nbflow.command_arguments import TERMINAL, HelpRequested, Parser, Values, switch
from nbflow.errors import NbflowError, did_you_mean

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

#: first word of a command -> (module of nbflow.cli, empty if all commands are generated; help)
GROUPS: Mapping[str, tuple[str, str]] = {
    "dags": ("dags", "Manage DAGs: list, show, check, test, trigger, pause ..."),
    "tasks": ("tasks", "Manage tasks and task instances: list, test, clear, mark ..."),
    "backfill": ("backfill", "Manage backfills: create, list, pause, cancel."),
    "why": ("why", "Explain why the tasks of a run wait."),
    "logs": ("logs", "Show or follow the log of a task."),
    "simulate": ("simulate", "Simulate days of scheduling in seconds."),
    "lint": ("lint", "Check all DAG files."),
    "scheduler": ("processes", "Run the scheduler."),
    "standalone": ("processes", "Create the home if needed and run the scheduler."),
    "lab": ("jupyterlab", "Run JupyterLab and a scheduler."),
    "labs": ("", "List labs, show one, or check an exercise."),
    "quiz": ("", "List quizzes, show one, or answer a question."),
    "status": ("processes", "Show whether a scheduler is running, and the active runs."),
    "stop": ("processes", "Stop the schedulers of this home."),
    "jobs": ("processes", "List or check the processes of nbflow."),
    "variables": ("variables", "Manage variables: list, get, set, delete, import, export."),
    "connections": ("connections", "Manage connections: list, get, add, delete, import, export, test."),
    "pools": ("pools", "Manage pools: list, get, set, delete, import, export."),
    "db": ("db", "Manage the metastore: init, migrate, check, reset, clean, shell ..."),
    "config": ("config", "Show settings and their sources."),
    "rotate-fernet-key": ("db", "Re-encrypt stored secrets with the newest Fernet key."),
    "info": ("info", "Show installed versions and paths."),
    "version": ("info", "Show the version."),
    "cheat-sheet": ("info", "List every command with its help."),
}


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run a command line and return its exit code. A mistake of the user never causes a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    _reopen_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # an id that stdout cannot encode must not fail the command
        sys.stdout.reconfigure(errors="backslashreplace")
    verbose = False
    try:
        try:
            command, args = parse(words)
        except HelpRequested as help_text:
            print(help_text, flush=True)
            return OK
        verbose = bool(getattr(args, "verbose", False))
        return _run(command, args, os.environ if environ is None else environ)
    except UsageError as error:
        output.print_error(str(error))
        return USAGE
    except NbflowError as error:
        output.print_error(str(error))
        return FAILED
    except KeyboardInterrupt:
        output.print_error("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as in `nbflow ... | head`
        _drop_stdout()
        return FAILED
    except Exception as error:
        return _print_unexpected(error, verbose)


def _print_unexpected(error: Exception, verbose: bool) -> int:
    """Print an OS error (a full disk, a file without permission) or an internal error."""
    if verbose:
        import traceback

        traceback.print_exc()
    hint = "" if verbose else " Run it again with -v for the traceback."
    if isinstance(error, OSError) and error.strerror:
        path = f": {error.filename}" if error.filename else ""
        output.print_error(f"OS error: {error.strerror}{path}.{hint}")
        _drop_stdout()
    else:
        output.print_error(f"Internal error: {type(error).__name__}: {error}.{hint}")
    return FAILED


def _drop_stdout() -> None:
    """Replace a stdout that cannot be written; otherwise the interpreter's flush at exit prints a second error."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _reopen_closed_streams() -> None:
    """Open /dev/null in place of a closed standard stream (``>&-``, some daemons). Otherwise the next opened file, e.g.
    the metastore, would get its file descriptor, and ``print`` would write into that file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _run(command: TerminalCommand, args: Values, environ: Mapping[str, str]) -> int:
    call = Call(args, environ, migrates=command.declared.migrates)
    try:
        code = command.run(call)
        sys.stdout.flush()
        return code or OK
    finally:
        call.close()


# ------------------------------------------------------------------------------------------------------------- parsing


def commands_of(group: str) -> list[TerminalCommand]:
    """All commands whose first word is ``group``."""
    module, _ = GROUPS[group]
    commands: Sequence[TerminalCommand] = import_module(f"nbflow.cli.{module}").COMMANDS if module else ()
    defined = [command for command in commands if command.name.split()[0] == group]
    return [*defined, *generated_commands(group, defined)]


def parse(words: Sequence[str]) -> tuple[TerminalCommand, Values]:
    """The command of a command line, and its parsed arguments. Raises UsageError or HelpRequested."""
    words, verbose = _without_leading_verbose(words)
    group = words[0] if words else "--help"
    if group in ("-h", "--help", "help"):
        raise HelpRequested(overview())
    if group == "--version":
        words, group = ["version", *words[1:]], "version"
    if group not in GROUPS:
        _raise_unknown(group, words[1:])
    commands = commands_of(group)
    name, rest = _command_name(group, words[1:], commands)
    command = next(command for command in commands if name in (command.name, *command.aliases))
    args = parser_of(command, name).parse(list(rest))
    args.verbose = args.verbose or verbose
    return command, args


def _without_leading_verbose(words: Sequence[str]) -> tuple[list[str], bool]:
    """``nbflow -v dags list`` means ``nbflow dags list -v``."""
    rest = list(words)
    verbose = False
    while rest and rest[0] in ("-v", "--verbose"):
        verbose = bool(rest.pop(0))
    return rest, verbose


def _command_name(group: str, rest: Sequence[str], commands: Sequence[TerminalCommand]) -> tuple[str, Sequence[str]]:
    """The full name of the command, and the words after it."""
    names = [name for command in commands for name in (command.name, *command.aliases)]
    if names == [group]:
        return group, rest
    if not rest or rest[0] in ("-h", "--help"):
        if group in names and not rest:
            return group, rest
        raise HelpRequested(group_help(group, commands))
    name = f"{group} {rest[0]}"
    if name in names:
        return name, rest[1:]
    if group in names:
        return group, rest
    from nbflow.cli.unavailable import reason

    if (unavailable := reason(name)) is not None:
        raise UsageError(unavailable)
    subcommands = [command_name.split()[1] for command_name in names]
    kind = "option" if rest[0].startswith("-") else "command"
    nearest = did_you_mean(rest[0], subcommands)
    hint = "" if nearest else f"Commands: {', '.join(subcommands)}."
    raise UsageError(f"nbflow {group}: unknown {kind} {rest[0]!r}.{nearest}", hint=hint)


def _raise_unknown(word: str, rest: Sequence[str]) -> NoReturn:
    from nbflow.cli.unavailable import reason

    unavailable = reason(" ".join([word, *rest[:1]])) or reason(word)
    if unavailable is not None:
        raise UsageError(unavailable)
    kind = "option" if word.startswith("-") else "command"
    raise UsageError(f"Unknown {kind} {word!r}.{did_you_mean(word, GROUPS)}", hint="See: nbflow --help.")


def parser_of(command: TerminalCommand, name: str | None = None) -> Parser:
    """The parser of a command; ``name`` is the name or alias that was typed."""
    name = name or command.name
    return Parser(
        f"nbflow {name}",
        (*command.arguments, VERBOSE),
        texts=TERMINAL,
        description=command.help,
        epilog=command.epilog,
        unavailable=lambda option: _unavailable(name, option),
    )


VERBOSE = switch("-v", "--verbose", help="Show debug logs and tracebacks.")


def _unavailable(name: str, option: str) -> str | None:
    from nbflow.cli.unavailable import option_reason

    return option_reason(name, option)


# ---------------------------------------------------------------------------------------------------------------- help


def overview() -> str:
    """The output of ``nbflow --help``."""
    width = max(map(len, GROUPS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in GROUPS.items()]
    head = "usage: nbflow COMMAND ...\n\nA workflow orchestrator for notebooks and Python files.\n\ncommands:\n"
    return head + "\n".join(lines) + "\n\nHelp of a command: nbflow COMMAND --help. Tracebacks: nbflow COMMAND -v."


def group_help(group: str, commands: Sequence[TerminalCommand]) -> str:
    """The output of ``nbflow GROUP --help``."""
    rows = [(command.name.removeprefix(group).strip() or "(none)", command.help) for command in commands]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name.ljust(width)}  {text}" for name, text in rows]
    return f"usage: nbflow {group} COMMAND ...\n\n{GROUPS[group][1]}\n\ncommands:\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
