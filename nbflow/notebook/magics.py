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
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, magics_class, no_var_expand
from IPython.display import display

from nbflow.command_arguments import NOTEBOOK, HelpRequested, Parser, Values, split_line
from nbflow.commands import magics
from nbflow.commands.base import Command
from nbflow.commands.learning import names_of
from nbflow.error_hints import import_hint
from nbflow.errors import NbflowError, did_you_mean
from nbflow.notebook import admin_verbs
from nbflow.notebook import magic_parser as lines
from nbflow.notebook.cells import run_cell, run_shared
from nbflow.notebook.commands import carried_out
from nbflow.notebook.dag_cell_output import dag_picture
from nbflow.notebook.displayable import seen
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.session import end_session, session
from nbflow.sources.cell_options import OPTIONS, SHARED, help_text, parse_magic

Kind = Literal["line", "cell"]


@magics_class
class NbflowMagics(Magics):
    """Settings of the magics: ``%config NbflowMagics``."""

    save_output = traitlets.Bool(
        None,
        allow_none=True,
        help="Keep pictures in the saved notebook. Without them outputs are text, and diffs stay small. "
        "None: the setting [notebook] save_output applies.",
    ).tag(config=True)

    shell: Any

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.here = session()
        self.here.user_ns = shell.user_ns

    @traitlets.observe("save_output")
    def _save_output_changed(self, change: Any) -> None:
        session().save_output = change.new

    # --- events of the shell

    def cell_began(self, info: Any) -> None:
        if info.store_history and not info.silent:
            session().cells.began(getattr(info, "cell_id", None))

    def cell_ended(self, result: Any) -> None:
        info = result.info
        if info is not None and info.store_history and not info.silent:
            number = result.execution_count or self.shell.execution_count
            session().cells.ended(number, info.raw_cell or "", success=result.success)
        if result.error_in_exec is not None and (hint := import_hint(result.error_in_exec)):
            print(hint.removeprefix(". "), file=sys.stderr)  # below the traceback of a cell without %%dag

    def _number(self) -> int:
        """The execution count of the running cell. The shell's own count may be one ahead, by IPython's version."""
        result = getattr(self.shell.displayhook, "exec_result", None)
        return int(getattr(result, "execution_count", None) or self.shell.execution_count)

    # --- %%dag

    @no_var_expand  # the DAG processor reads the saved line, and has no variables to expand
    @told_in_one_line
    def dag_cell(self, line: str, cell: str) -> Any:
        """Define a DAG in a cell. The cell must be self-contained, like a file; imports of earlier cells are included.

        %%dag NAME [options]     define the DAG NAME by the cell's tasks
        %%dag --shared           no DAG: helpers that are included in this notebook's DAGs
        """
        if line.strip() in ("?", "-h", "--help"):
            print(self.dag_cell.__doc__)
            return None
        source = f"%%dag {line}\n{cell}"
        here = session()
        cells = here.cells.with_current(source, self._number())
        magic = parse_magic(line)
        if magic.shared:
            run_shared(cells, self.shell.user_ns)
            return None
        cell_dag = run_cell(cells, path=here.path, folder=Path.cwd(), options=here.app.compile_options())
        self.shell.push(dict(cell_dag.names))
        for kernel_dag in here.keep(cell_dag):
            display(seen(dag_picture(here, kernel_dag)), raw=True)
        return None

    dag_cell.__doc__ = f"{dag_cell.__doc__}\n{help_text()}"

    # --- %dag

    @told_in_one_line
    def dag_line(self, line: str) -> Any:
        """Work with DAGs: %dag VERB ...; %dag lists the verbs, %dag run? explains one."""
        try:
            verb, args = lines.parse(line)
        except HelpRequested as wanted:
            print(wanted)
            return None
        result = lines.call(verb, args)
        if verb in lines.SHOWS:
            display(result)
        return result

    # --- %nbflow

    @told_in_one_line
    def nbflow_line(self, line: str) -> Any:
        """Work with the home: status, start and stop the scheduler, list pools, variables and connections."""
        try:
            verb, one, args = _nbflow_line(line)
        except HelpRequested as wanted:
            print(wanted)
            return None
        function = admin_verbs.CALLS.get(verb)
        return function(args) if function is not None else carried_out(one, args)


def _nbflow_line(line: str) -> tuple[str, Command, Values]:
    words = split_line("%nbflow", line, NOTEBOOK) or ["status"]
    known = magics("%nbflow")
    if words[0] in ("?", "-h", "--help"):
        width = max(map(len, known))
        raise HelpRequested("\n".join(f"%nbflow {verb:<{width}}  {one.help}" for verb, one in known.items()))
    if words[0] not in known:
        hint = did_you_mean(words[0], known).strip() or f"The verbs are: {', '.join(known)}."
        raise NbflowError(f"%nbflow has no verb {words[0]!r}.", hint=hint)
    one = known[words[0]]
    return words[0], one, Parser(one.magic, one.arguments, texts=NOTEBOOK, description=one.help).parse(words[1:])


# ---------------------------------------------------------------------------------------- registration


def command_line(magic: str) -> Callable[[str], Any]:
    """The function behind a line magic that is one command, without a verb."""
    one = magics(magic)[""]

    @told_in_one_line
    def line(text: str) -> Any:
        parser = Parser(magic, one.arguments, texts=NOTEBOOK, description=one.help)
        try:
            args = parser.parse(split_line(magic, text, NOTEBOOK))
        except HelpRequested as wanted:
            print(wanted)
            return None
        answer = carried_out(one, args)
        return answer.data if hasattr(answer.data, "_repr_mimebundle_") else answer

    line.__doc__ = f"{one.help}\n\n{magic} {one.example}"
    return line


class Magic(NamedTuple):
    """A row of the table: the magic's name, and the factory of its function."""

    kind: Kind
    name: str
    make: Callable[[NbflowMagics], Callable[..., Any]]


MAGICS: list[Magic] = [
    Magic("cell", "dag", lambda magics: magics.dag_cell),
    Magic("line", "dag", lambda magics: magics.dag_line),
    Magic("line", "nbflow", lambda magics: magics.nbflow_line),
    Magic("line", "quiz", lambda magics: command_line("%quiz")),
    Magic("line", "lab", lambda magics: command_line("%lab")),
]


_loaded: dict[int, NbflowMagics] = {}
"""By id of the shell."""


def _register(magics: NbflowMagics, row: Magic) -> None:
    magics.shell.register_magic_function(row.make(magics), row.kind, row.name)


def load(shell: Any) -> None:
    """Register the magics, their completion and the log of cells. Loading twice changes nothing."""
    if id(shell) in _loaded:
        return
    magics = _loaded[id(shell)] = NbflowMagics(shell)
    shell.configurables.append(magics)
    for row in MAGICS:
        _register(magics, row)
    magics.here.cells.seed(shell.history_manager.input_hist_raw if shell.history_manager else ())
    shell.events.register("pre_run_cell", magics.cell_began)
    shell.events.register("post_run_cell", magics.cell_ended)
    shell.input_transformers_cleanup.append(ask_for_help)
    shell.Completer.custom_matchers.append(complete)


def unload(shell: Any) -> None:
    """Unregister what :func:`load` registered, and close the home."""
    magics = _loaded.pop(id(shell), None)
    if magics is None:
        return
    shell.configurables.remove(magics)
    for event, function in (("pre_run_cell", magics.cell_began), ("post_run_cell", magics.cell_ended)):
        with contextlib.suppress(ValueError):
            shell.events.unregister(event, function)
    if ask_for_help in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(ask_for_help)
    if complete in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(complete)
    for row in MAGICS:
        shell.magics_manager.magics[row.kind].pop(row.name, None)
    end_session()


def ask_for_help(cell: list[str]) -> list[str]:
    """Rewrite ``%dag run?`` as ``%dag run --help``; IPython would show the help of an object named ``run``."""
    return [_HELP.sub(r"\1 --help", line) if line.lstrip().startswith("%") else line for line in cell]


_HELP = re.compile(r"^(\s*%dag\s+\w+)[^?\n]*\?+\s*$", re.MULTILINE)


# ---------------------------------------------------------------------------------------- completion


_LINES: list[tuple[re.Pattern[str], Callable[[str], list[str]]]] = [
    (re.compile(r"(?:.*=\s*)?%dag\s+(.*)"), lambda text: lines.complete(text, _known())),
    (re.compile(r"%%dag\s+(?:.*\s)?(\S*)"), lambda word: [one for one in [*OPTIONS, SHARED] if one.startswith(word)]),
    (
        re.compile(r"(?:.*=\s*)?%nbflow\s+(\S*)"),
        lambda word: [one for one in magics("%nbflow") if one.startswith(word)],
    ),
    (re.compile(r"(?:.*=\s*)?%quiz\s+(\S*)"), lambda word: [one for one in names_of("quiz") if one.startswith(word)]),
    (re.compile(r"(?:.*=\s*)?%lab\s+(\S*)"), lambda word: [one for one in names_of("labs") if one.startswith(word)]),
]
"""(pattern of the line, completions of its last word)."""


@context_matcher()
def complete(context: CompletionContext) -> SimpleMatcherResult:
    """Complete the lines of these magics. Python names are suppressed: they are not arguments of a magic."""
    before = context.line_with_cursor[: context.cursor_position]
    for pattern, offers in _LINES:
        found = pattern.fullmatch(before.lstrip())
        if found is not None:
            word = context.token
            cut = len(_last_word(before)) - len(word)  # IPython's token may begin in the middle of the argument
            return {"completions": [SimpleCompletion(one[cut:]) for one in offers(found[1])], "suppress": True}
    return {"completions": []}


def _last_word(line: str) -> str:
    return "" if not line or line[-1].isspace() else line.split()[-1]


def _known() -> lines.Known:
    here = session()

    def tasks(dag_id: str) -> list[str]:
        try:
            return list(here.version(dag_id).spec.tasks)
        except NbflowError:
            return []

    return lines.Known(
        dags=lambda: sorted({row.dag_id for row in here.app.store.dags()} | here.dags.keys()),
        tasks=tasks,
        runs=lambda dag_id: [run.run_id for run in here.app.store.runs(dag_id, limit=20)],
    )
