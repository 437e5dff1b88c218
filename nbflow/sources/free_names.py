"""Which names a piece of Python needs from outside, and which it leaves behind.

A notebook hides what a file shows: a cell may use what another cell, run an hour ago, left in the kernel. So the names
of a cell are worked out from its text. The rules of scopes are Python's own (``symtable``); three of them are bent
first, on the syntax tree:

* ``del x`` at the top level counts as a use of ``x``, and ends it; Python's symbol table calls it a binding.
* ``x: int`` without a value binds nothing.
* Under ``from __future__ import annotations`` annotations are text and need no name.

Lines that only IPython understands (``%time``, ``!ls``, ``x = !ls``) are blanked, line for line, but only where the
line does not parse as Python: ``%`` at the start of a continued line is an operator.
"""

from __future__ import annotations

import ast
import builtins
import io
import re
import symtable
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: Every module has these.
MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__loader__", "__package__", "__annotations__"}
)
BUILTINS = frozenset(dir(builtins)) - {"display", "get_ipython", "_", "__IPYTHON__"}
"""Python's own; in a kernel, IPython has put some of its own beside them."""
#: Of IPython alone -> what to do about it.
IPYTHON_NAMES: Mapping[str, str] = {
    "display": "Import it: from IPython.display import display.",
    "get_ipython": "Nothing of IPython is there when the scheduler runs the cell.",
    "In": "Nothing of IPython is there when the scheduler runs the cell.",
    "Out": "Nothing of IPython is there when the scheduler runs the cell.",
}

_MAGIC_LINE = re.compile(
    r"""(?P<indent>\s*)(?:
        (?P<bare>[%!?].*)                                   # %time, !ls, ?x
      | (?P<target>[\w\s,.\[\]'"*]+)=\s*(?P<assigned>[%!].*)    # files = !ls
      | (?P<asked>[\w.\[\]'"]+\?\??)\s*                     # df.head?
    )""",
    re.VERBOSE,
)
_MOST_MAGICS = 200
"""Each costs another parse of the cell."""


@dataclass(frozen=True, slots=True)
class Import:
    """A top-level import statement: its text, the names that it binds, its line in the cell."""

    text: str
    names: tuple[str, ...]
    line: int
    future: bool = False
    dotted: bool = False
    """``import a`` or ``import a.b``: several of one name add to each other, they do not replace each other."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A piece of Python, read. ``error`` is set, and the rest empty, where it does not parse."""

    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    magics: tuple[tuple[int, str], ...] = ()
    """(line, text) of the lines that only IPython understands."""
    error: SyntaxError | None = None
    postponed: bool = False
    """Annotations are text here, because an earlier cell has said so."""

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Import statements at the top level, in order; star imports have no names."""
        found = []
        for node in self.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                future = isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level
                names = tuple(_bound_by_alias(alias) for alias in node.names if alias.name != "*")
                dotted = isinstance(node, ast.Import) and not any(alias.asname for alias in node.names)
                found.append(Import(ast.unparse(node), names, node.lineno, future, dotted))
        return tuple(found)

    @cached_property
    def star_imports(self) -> tuple[tuple[int, str], ...]:
        """(line, text) of every ``from x import *``."""
        return tuple(
            (node.lineno, ast.unparse(node))
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        )

    @cached_property
    def changes(self) -> tuple[tuple[str, Import | None, bool], ...]:
        """What it does to the top-level names, in order: (name, the import that binds it, whether it lasts).
        ``(name, None, False)`` deletes."""
        done: list[tuple[str, Import | None, bool]] = []
        imports = iter(self.imports)
        for node in self.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                one = next(imports)
                done += [(name, one, True) for name in one.names]
            elif isinstance(node, ast.Delete):
                done += [(target.id, None, False) for target in node.targets if isinstance(target, ast.Name)]
            else:
                done += [(name, None, True) for name in sorted(Code(tree=ast.Module([node], [])).defined)]
        return tuple(done)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names that it binds at the top level at some point, also from inside functions by ``global``."""
        return self._names[0]

    @cached_property
    def needed(self) -> frozenset[str]:
        """Global names that it reads somewhere, in any scope, and does not bind itself; builtins included."""
        return self._names[1]

    def line_of(self, name: str) -> int | None:
        """Where a name is first used."""
        lines = [node.lineno for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id == name]
        return min(lines, default=None)

    @cached_property
    def postpones(self) -> bool:
        """Whether annotations are text from here on."""
        return self.postponed or any("annotations" in one.names for one in self.imports if one.future)

    @cached_property
    def mentioned(self) -> frozenset[str]:
        """Every name that stands anywhere in it, annotations and texts in annotations included."""
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        for node in ast.walk(self.tree):
            for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                for part in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        names |= set(re.findall(r"[^\W\d]\w*", part.value))
        return frozenset(names)

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        tree = _bent(self.tree, postponed=self.postpones)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            top = symtable.symtable(ast.unparse(tree), "<cell>", "exec")
        bound: set[str] = set()
        used: set[str] = set()
        for symbol in top.get_symbols():
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                bound.add(symbol.get_name())
            if symbol.is_referenced():
                used.add(symbol.get_name())
        _walk_scopes(top, bound, used)
        return frozenset(bound), frozenset(used - bound)


def read_code(text: str, *, postponed_annotations: bool = False) -> Code:
    """Parse a cell's text. ``postponed_annotations``: an earlier cell has turned them on, and that lasts."""
    lines = python_lines(text)
    magics: list[tuple[int, str]] = []
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse("\n".join(lines) + "\n")
                # what only the compiler refuses (`return` at the top level); notebooks may await there
                compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            break
        except SyntaxError as error:
            if len(magics) >= _MOST_MAGICS or not _blank(lines, error.lineno, magics):
                return Code(error=error, magics=tuple(magics))
        except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, nesting without end
            return Code(error=SyntaxError(str(error) or type(error).__name__))
    return Code(tree=tree, magics=tuple(magics), postponed=postponed_annotations)


def python_lines(text: str) -> list[str]:
    """The lines as Python and editors count them; ``str.splitlines`` ends one at a form feed or U+2028 too."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def unresolved(code: Code, available: Iterable[str]) -> list[str]:
    """Names that ``code`` needs and that neither Python nor ``available`` has, in order of first use."""
    missing = code.needed - BUILTINS - MODULE_NAMES - frozenset(available)
    return sorted(missing, key=lambda name: (code.line_of(name) or 0, name))


# ---------------------------------------------------------------------------------------- parts


def _blank(lines: list[str], number: int | None, magics: list[tuple[int, str]]) -> bool:
    """Replace the line that does not parse, if it is IPython's, by Python that binds the same names."""
    if number is None or not 1 <= number <= len(lines):
        return False
    match = _MAGIC_LINE.fullmatch(lines[number - 1])
    if match is None:
        return False
    magics.append((number, lines[number - 1].strip()))
    target = match["target"]
    lines[number - 1] = f"{match['indent']}{target.strip()} = None" if target else f"{match['indent']}pass"
    while lines[number - 1 :] and magics[-1][1].endswith("\\") and number < len(lines):  # it goes on below
        magics[-1] = (magics[-1][0], magics[-1][1][:-1].rstrip() + " " + lines[number].strip())
        lines[number] = ""
        number += 1
    return True


def _bound_by_alias(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _walk_scopes(table: symtable.SymbolTable, bound: set[str], used: set[str]) -> None:
    for child in table.get_children():
        for symbol in child.get_symbols():
            if not symbol.is_global():
                continue
            if symbol.is_referenced():
                used.add(symbol.get_name())
            if symbol.is_declared_global() and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                bound.add(symbol.get_name())
        _walk_scopes(child, bound, used)


class _Bend(ast.NodeTransformer):
    """The rules at the head of this module."""

    def __init__(self, *, postponed: bool) -> None:
        self.postponed = postponed
        self.depth = 0

    def _inside(self, node: ast.AST) -> ast.AST:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if self.postponed:
            node.returns = None
        return self._inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        if self.postponed:
            node.returns = None
        return self._inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._inside(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        if self.postponed:
            node.annotation = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self.postponed:
            node.annotation = ast.copy_location(ast.Constant(value=None), node.annotation)
        self.generic_visit(node)
        if node.value is None and not self.depth:
            return ast.copy_location(ast.Expr(value=node.annotation), node)
        return node

    def visit_Delete(self, node: ast.Delete) -> ast.AST:
        if self.depth:
            return self.generic_visit(node)
        uses = [_loaded(target) for target in node.targets]
        value: ast.expr = uses[0] if len(uses) == 1 else ast.Tuple(elts=uses, ctx=ast.Load())
        return ast.copy_location(ast.Expr(value=value), node)


def _loaded(target: ast.expr) -> ast.expr:
    if isinstance(target, ast.Tuple | ast.List):
        return ast.Tuple(elts=[_loaded(one) for one in target.elts], ctx=ast.Load())
    if isinstance(target, ast.Name):
        return ast.Name(id=target.id, ctx=ast.Load())
    return target


def _bent(tree: ast.Module, *, postponed: bool) -> ast.Module:
    import copy

    bent: ast.Module = _Bend(postponed=postponed).visit(copy.deepcopy(tree))
    return ast.fix_missing_locations(bent)
