"""``%load_ext nbflow``: the magics, their registration, completion and help.

:data:`MAGICS` is the table of magics: kind, name, and a factory of the magic's function.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import traitlets
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, magics_class, no_var_expand
from IPython.display import display

from nbflow.command_arguments import NOTEBOOK, HelpRequested, Parser, Values, split_line
from nbflow.commands import magics
from nbflow.commands.base import Command
from nbflow.error_hints import import_hint
from nbflow.errors import NbflowError, did_you_mean
from nbflow.notebook import admin_verbs
from nbflow.notebook import dag_line_magic as lines
from nbflow.notebook.cells import run_cell, run_shared
from nbflow.notebook.commands import execute
from nbflow.notebook.completion import complete
from nbflow.notebook.dag_cell_output import dag_picture
from nbflow.notebook.displayable import display_bundle
from nbflow.notebook.error_display import one_line_errors
from nbflow.notebook.session import current_session, end_session
from nbflow.sources.cell_options import help_text, parse_magic

Kind = Literal["line", "cell"]


@magics_class
class NbflowMagics(Magics):
    """Settings of the magics: ``%config NbflowMagics``."""

    save_output = traitlets.Bool(
        None,
        allow_none=True,
        help="Save pictures in the notebook. Without them, outputs are text, and diffs are small. "
        "None: the setting [notebook] save_output applies.",
    ).tag(config=True)

    shell: Any

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.session = current_session()
        self.session.user_ns = shell.user_ns

    @traitlets.observe("save_output")
    def _save_output_changed(self, change: Any) -> None:
        current_session().save_output = change.new

    # --- events of the shell

    def pre_run_cell(self, info: Any) -> None:
        if info.store_history and not info.silent:
            current_session().cells.start(getattr(info, "cell_id", None))

    def post_run_cell(self, result: Any) -> None:
        info = result.info
        if info is not None and info.store_history and not info.silent:
            number = result.execution_count or self.shell.execution_count
            current_session().cells.end(number, info.raw_cell or "", success=result.success)
        if result.error_in_exec is not None and (hint := import_hint(result.error_in_exec)):
            print(hint.removeprefix(". "), file=sys.stderr)  # below the traceback of a cell without %%dag

    def _execution_count(self) -> int:
        """The execution count of the running cell. In some versions of IPython, the shell's count is one ahead."""
        result = getattr(self.shell.displayhook, "exec_result", None)
        return int(getattr(result, "execution_count", None) or self.shell.execution_count)

    # --- %%dag

    @no_var_expand  # the DAG processor reads the saved line, where no variables are expanded
    @one_line_errors
    def dag_cell(self, line: str, cell: str) -> Any:
        """Define a DAG in a cell. The cell must be self-contained, like a file; imports of earlier cells are included.

        %%dag NAME [options]     the tasks of this cell are the DAG NAME
        %%dag --shared           no DAG: helpers that are included in the DAGs of this notebook
        """
        if line.strip() in ("?", "-h", "--help"):
            print(self.dag_cell.__doc__)
            return None
        source = f"%%dag {line}\n{cell}"
        session = current_session()
        cells = session.cells.with_current(source, self._execution_count())
        magic = parse_magic(line)
        if magic.shared:
            run_shared(cells, self.shell.user_ns)
            return None
        cell_dag = run_cell(cells, path=session.path, folder=Path.cwd(), options=session.app.compile_options())
        self.shell.push(dict(cell_dag.names))
        for kernel_dag in session.register(cell_dag):
            display_bundle(dag_picture(session, kernel_dag))
        return None

    dag_cell.__doc__ = f"{dag_cell.__doc__}\n{help_text()}"

    # --- %dag

    @one_line_errors
    def dag_line(self, line: str) -> Any:
        """Work with DAGs: %dag VERB ...; %dag lists the verbs, %dag run? shows the help of a verb."""
        try:
            verb, args = lines.parse(line)
        except HelpRequested as help_requested:
            print(help_requested)
            return None
        result = lines.call(verb, args)
        if verb in lines.LIVE_VERBS:
            display(result)
        return result

    # --- %nbflow

    @one_line_errors
    def nbflow_line(self, line: str) -> Any:
        """Work with the home: status, start and stop the scheduler, list pools, variables and connections."""
        try:
            verb, command, args = parse_nbflow_line(line)
        except HelpRequested as help_requested:
            print(help_requested)
            return None
        function = admin_verbs.CALLS.get(verb)
        return function(args) if function is not None else execute(command, args)


def parse_nbflow_line(line: str) -> tuple[str, Command, Values]:
    """The verb of a ``%nbflow`` line, its command and arguments. Raises HelpRequested or UsageError."""
    words = split_line("%nbflow", line, NOTEBOOK) or ["status"]
    verbs = magics("%nbflow")
    if words[0] in ("?", "-h", "--help"):
        width = max(map(len, verbs))
        raise HelpRequested("\n".join(f"%nbflow {verb:<{width}}  {command.help}" for verb, command in verbs.items()))
    if words[0] not in verbs:
        hint = did_you_mean(words[0], verbs).strip() or f"The verbs are: {', '.join(verbs)}."
        raise NbflowError(f"%nbflow has no verb {words[0]!r}.", hint=hint)
    command = verbs[words[0]]
    parser = Parser(command.magic, command.arguments, texts=NOTEBOOK, description=command.help)
    return words[0], command, parser.parse(words[1:])


# ---------------------------------------------------------------------------------------- registration


def command_line(magic: str) -> Callable[[str], Any]:
    """The function of a line magic without verbs, which is one command."""
    command = magics(magic)[""]

    @one_line_errors
    def line(text: str) -> Any:
        parser = Parser(magic, command.arguments, texts=NOTEBOOK, description=command.help)
        try:
            args = parser.parse(split_line(magic, text, NOTEBOOK))
        except HelpRequested as help_requested:
            print(help_requested)
            return None
        result = execute(command, args)
        return result.data if hasattr(result.data, "_repr_mimebundle_") else result

    line.__doc__ = f"{command.help}\n\n{magic} {command.example}"
    return line


class Magic(NamedTuple):
    """A magic: its name, and the factory of its function."""

    kind: Kind
    name: str
    factory: Callable[[NbflowMagics], Callable[..., Any]]


MAGICS: list[Magic] = [
    Magic("cell", "dag", lambda magics: magics.dag_cell),
    Magic("line", "dag", lambda magics: magics.dag_line),
    Magic("line", "nbflow", lambda magics: magics.nbflow_line),
    Magic("line", "quiz", lambda magics: command_line("%quiz")),
    Magic("line", "lab", lambda magics: command_line("%lab")),
]


_loaded: dict[int, NbflowMagics] = {}
"""id of the shell -> its magics."""


def _register(magics: NbflowMagics, row: Magic) -> None:
    magics.shell.register_magic_function(row.factory(magics), row.kind, row.name)


def load(shell: Any) -> None:
    """Register the magics, their completion and the log of cells. Loading twice changes nothing."""
    if id(shell) in _loaded:
        return
    magics = _loaded[id(shell)] = NbflowMagics(shell)
    shell.configurables.append(magics)
    for row in MAGICS:
        _register(magics, row)
    magics.session.cells.seed(shell.history_manager.input_hist_raw if shell.history_manager else ())
    shell.events.register("pre_run_cell", magics.pre_run_cell)
    shell.events.register("post_run_cell", magics.post_run_cell)
    shell.input_transformers_cleanup.append(rewrite_help_requests)
    shell.Completer.custom_matchers.append(complete)


def unload(shell: Any) -> None:
    """Undo :func:`load`, and close the session."""
    magics = _loaded.pop(id(shell), None)
    if magics is None:
        return
    shell.configurables.remove(magics)
    for event, function in (("pre_run_cell", magics.pre_run_cell), ("post_run_cell", magics.post_run_cell)):
        with contextlib.suppress(ValueError):
            shell.events.unregister(event, function)
    if rewrite_help_requests in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(rewrite_help_requests)
    if complete in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(complete)
    for row in MAGICS:
        shell.magics_manager.magics[row.kind].pop(row.name, None)
    end_session()


def rewrite_help_requests(cell: list[str]) -> list[str]:
    """Rewrite ``%dag run?`` as ``%dag run --help``, since IPython would show the help of an object named ``run``."""
    return [_HELP.sub(r"\1 --help", line) if line.lstrip().startswith("%") else line for line in cell]


_HELP = re.compile(r"^(\s*%dag\s+\w+)[^?\n]*\?+\s*$", re.MULTILINE)
