"""The entry point: find the command, parse its options, carry it out, turn errors into one line and an exit code.

Exit codes: 0 done; 1 failed or refused; 2 the command line makes no sense; 130 interrupted.

Only the module of the command that was asked for is imported: ``nbflow version`` loads neither settings nor metastore.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from nbflow.arguments import TERMINAL, HelpRequested, Parser, Values, switch
from nbflow.cli import output
from nbflow.cli.declaring import Command, others
from nbflow.cli.invocation import Call, UsageError
from nbflow.errors import NbflowError, did_you_mean

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

#: first word of a command -> (module of nbflow.cli, empty where the declarations say it all; help)
GROUPS: Mapping[str, tuple[str, str]] = {
    "dags": ("dags", "List, show, check, test, trigger and pause DAGs."),
    "tasks": ("tasks", "Tasks of a DAG and their instances: list, test, clear, ..."),
    "backfill": ("backfill", "Run past intervals: create, list, pause, cancel."),
    "why": ("why", "Why a run's tasks wait."),
    "logs": ("logs", "The log of a task; -f follows it as it grows."),
    "simulate": ("simulate", "Watch days of scheduling in seconds, on a simulated clock."),
    "lint": ("lint", "Check all DAG files."),
    "scheduler": ("processes", "Run the scheduler, here, until it is stopped."),
    "standalone": ("processes", "Everything that one machine needs, in one process."),
    "lab": ("lab", "JupyterLab with everything running."),
    "labs": ("", "Labs: which there are, how far one is, and the look at an exercise."),
    "quiz": ("", "Quizzes: which there are, their questions, and answers to them."),
    "status": ("processes", "Whether a scheduler runs, and what there is to do."),
    "stop": ("processes", "End the scheduler of this home."),
    "jobs": ("processes", "The processes of nbflow: list, check."),
    "variables": ("variables", "Variables: list, get, set, delete, import, export."),
    "connections": ("connections", "Connections: list, get, add, delete, import, export, test."),
    "pools": ("pools", "Pools: list, get, set, delete, import, export."),
    "db": ("db", "The metastore: init, migrate, check, reset, clean, shell."),
    "config": ("config", "Settings and where they come from."),
    "rotate-fernet-key": ("db", "Encrypt stored secrets with the newest key."),
    "info": ("info", "What is installed, and where things are."),
    "version": ("info", "The version."),
    "cheat-sheet": ("info", "Every command with a line of help."),
}


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Carry out one command line and return its exit code. Nothing of the user's making comes out as a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    _hold_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    verbose = False
    try:
        try:
            command, args = parse(words)
        except HelpRequested as asked:
            print(asked, flush=True)
            return OK
        verbose = bool(getattr(args, "verbose", False))
        return _carry_out(command, args, os.environ if environ is None else environ)
    except UsageError as fault:
        output.complain(str(fault))
        return USAGE
    except NbflowError as fault:
        output.complain(str(fault))
        return FAILED
    except KeyboardInterrupt:
        output.complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # `nbflow ... | head`: nobody reads on
        _drop_stdout()
        return FAILED
    except Exception as fault:
        return _unforeseen(fault, verbose)


def _unforeseen(fault: Exception, verbose: bool) -> int:
    """What nobody has caught: a disk that is full and a file that may not be read are no faults of ours."""
    if verbose:
        import traceback

        traceback.print_exc()
    hint = "" if verbose else " Run it again with -v for the traceback."
    if isinstance(fault, OSError) and fault.strerror:
        output.complain(f"the system refuses: {fault.strerror}{f': {fault.filename}' if fault.filename else ''}.{hint}")
        _drop_stdout()
    else:
        output.complain(f"a fault of nbflow itself: {type(fault).__name__}: {fault}.{hint}")
    return FAILED


def _drop_stdout() -> None:
    """Nobody reads on, or it cannot be written: without this the interpreter's last flush complains too."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _hold_streams() -> None:
    """Where a standard stream was closed (``>&-``, some daemons' parents) its number would be given to the next file
    that is opened, be it the metastore, and what is printed would land there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _carry_out(command: Command, args: Values, environ: Mapping[str, str]) -> int:
    call = Call(args, environ)
    try:
        code = command.run(call)
        sys.stdout.flush()
        return code or OK
    finally:
        call.close()


# ------------------------------------------------------------------------------------------------------------- parsing


def commands_of(group: str) -> list[Command]:
    """All commands whose first word is ``group``."""
    module, _ = GROUPS[group]
    found: Sequence[Command] = import_module(f"nbflow.cli.{module}").COMMANDS if module else ()
    own = [one for one in found if one.name.split()[0] == group]
    return [*own, *others(group, own)]


def parse(words: Sequence[str]) -> tuple[Command, Values]:
    """The command that the words name, and its arguments. Raises UsageError."""
    words, early = _leading(words)
    group = words[0] if words else "--help"
    if group in ("-h", "--help", "help"):
        raise HelpRequested(overview())
    if group == "--version":
        words, group = ["version", *words[1:]], "version"
    if group not in GROUPS:
        _unknown(group, words[1:])
    commands = commands_of(group)
    name, rest = _named(group, words[1:], commands)
    command = next(one for one in commands if name in (one.name, *one.aliases))
    args = parser_of(command, name).parse(list(rest))
    args.verbose = args.verbose or early
    return command, args


def _leading(words: Sequence[str]) -> tuple[list[str], bool]:
    """``nbflow -v dags list`` is ``nbflow dags list -v``."""
    rest = list(words)
    early = False
    while rest and rest[0] in ("-v", "--verbose"):
        early = bool(rest.pop(0))
    return rest, early


def _named(group: str, rest: Sequence[str], commands: Sequence[Command]) -> tuple[str, Sequence[str]]:
    """The full name of the command, and what follows it."""
    names = [name for one in commands for name in (one.name, *one.aliases)]
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

    if (why := reason(name)) is not None:
        raise UsageError(why)
    second = [known.split()[1] for known in names]
    what = "option" if rest[0].startswith("-") else "command"
    nearest = did_you_mean(rest[0], second)
    hint = "" if nearest else f"It has: {', '.join(second)}."
    raise UsageError(f"nbflow {group}: there is no {what} {rest[0]!r}.{nearest}", hint=hint)


def _unknown(word: str, rest: Sequence[str]) -> NoReturn:
    from nbflow.cli.unavailable import reason

    why = reason(" ".join([word, *rest[:1]])) or reason(word)
    if why is not None:
        raise UsageError(why)
    what = "option" if word.startswith("-") else "command"
    raise UsageError(f"there is no {what} {word!r}.{did_you_mean(word, GROUPS)}", hint="See: nbflow --help.")


def parser_of(command: Command, name: str | None = None) -> Parser:
    """The parser of one command, under the name that was typed."""
    name = name or command.name
    return Parser(
        f"nbflow {name}",
        (*command.arguments, VERBOSE),
        texts=TERMINAL,
        description=command.help,
        epilog=command.epilog,
        unavailable=lambda option: _absent(name, option),
    )


VERBOSE = switch("-v", "--verbose", help="Say more, and show tracebacks.")


def _absent(name: str, option: str) -> str | None:
    from nbflow.cli.unavailable import option_reason

    return option_reason(name, option)


# ---------------------------------------------------------------------------------------------------------------- help


def overview() -> str:
    """What ``nbflow --help`` prints."""
    width = max(map(len, GROUPS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in GROUPS.items()]
    head = "usage: nbflow COMMAND ...\n\nWorkflows in notebooks and files.\n\ncommands:\n"
    return head + "\n".join(lines) + "\n\nEach has --help. Errors are one line on stderr; -v shows more."


def group_help(group: str, commands: Sequence[Command]) -> str:
    """What ``nbflow GROUP --help`` prints."""
    shown = [(one.name.removeprefix(group).strip() or "(alone)", one.help) for one in commands]
    width = max(len(name) for name, _ in shown)
    lines = [f"  {name.ljust(width)}  {text}" for name, text in shown]
    return f"usage: nbflow {group} COMMAND ...\n\n{GROUPS[group][1]}\n\ncommands:\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
