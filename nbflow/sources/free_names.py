"""The free names of a cell (global names that it uses and does not define), and the names that it defines.

The kernel's namespace may have names of cells that were deleted, so the names of a cell are computed from its text.
 The rules of scopes are Python's own (``symtable``), with three changes that are made on the syntax tree first:

* ``del x`` at the top level counts as a use of ``x``, which ends there; Python's symbol table calls it a binding.
* ``x: int`` without a value does not bind ``x``.
* With ``from __future__ import annotations``, annotations are text and need no names.

IPython's lines (``%time``, ``!ls``, ``x = !ls``) are blanked one by one, but only if the line does not parse as Python:
``%`` at the start of a continuation line is an operator.
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

#: Names that every module has.
MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__loader__", "__package__", "__annotations__"}
)
BUILTINS = frozenset(dir(builtins)) - {"display", "get_ipython", "_", "__IPYTHON__"}
"""Python's builtins, without those that IPython adds in a kernel."""
#: Names that only IPython has -> the hint.
IPYTHON_NAMES: Mapping[str, str] = {
    "display": "Import it: from IPython.display import display.",
    "get_ipython": "The scheduler runs the cell without IPython.",
    "In": "The scheduler runs the cell without IPython.",
    "Out": "The scheduler runs the cell without IPython.",
}

_MAGIC_LINE = re.compile(
    r"""(?P<indent>\s*)(?:
        (?P<bare>[%!?].*)                                   # %time, !ls, ?x
      | (?P<target>[\w\s,.\[\]'"*]+)=\s*(?P<assigned>[%!].*)    # files = !ls
      | (?P<help>[\w.\[\]'"]+\?\??)\s*                     # df.head?
    )""",
    re.VERBOSE,
)
_MAX_MAGICS = 200
"""Maximum number of IPython lines in a cell; each costs another parse of the cell."""


@dataclass(frozen=True, slots=True)
class Import:
    """A top-level import statement: its text, the names that it binds, its line in the cell."""

    text: str
    names: tuple[str, ...]
    line: int
    future: bool = False
    dotted: bool = False
    """``import a`` or ``import a.b``: a second import of the same name adds to the first, it does not replace it."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Parsed Python code. If it does not parse, ``error`` is set and the rest is empty."""

    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    magics: tuple[tuple[int, str], ...] = ()
    """(line, text) of the lines that only IPython understands."""
    error: SyntaxError | None = None
    postponed: bool = False
    """Whether annotations are text because an earlier cell has the future import."""

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Import statements at the top level, in order; star imports have no names."""
        imports = []
        for node in self.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                future = isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level
                names = tuple(_bound_by_alias(alias) for alias in node.names if alias.name != "*")
                dotted = isinstance(node, ast.Import) and not any(alias.asname for alias in node.names)
                imports.append(Import(ast.unparse(node), names, node.lineno, future, dotted))
        return tuple(imports)

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
        """The changes of top-level names, in order: (name, the import that binds it or None, whether it is bound).
        ``(name, None, False)`` is a deletion."""
        changes: list[tuple[str, Import | None, bool]] = []
        imports = iter(self.imports)
        for node in self.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                statement = next(imports)
                changes += [(name, statement, True) for name in statement.names]
            elif isinstance(node, ast.Delete):
                changes += [(target.id, None, False) for target in node.targets if isinstance(target, ast.Name)]
            else:
                changes += [(name, None, True) for name in sorted(Code(tree=ast.Module([node], [])).defined)]
        return tuple(changes)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names that are bound at the top level at some point, also inside functions by ``global``."""
        return self._names[0]

    @cached_property
    def needed(self) -> frozenset[str]:
        """Global names that are read in any scope and not bound at the top level, including builtins."""
        return self._names[1]

    def line_of(self, name: str) -> int | None:
        """The line of the first use of a name."""
        lines = [node.lineno for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id == name]
        return min(lines, default=None)

    @cached_property
    def postpones(self) -> bool:
        """Whether annotations are text after this code."""
        futures = [statement for statement in self.imports if statement.future]
        return self.postponed or any("annotations" in statement.names for statement in futures)

    @cached_property
    def mentioned(self) -> frozenset[str]:
        """Every name that occurs anywhere, also in annotations and in text inside annotations."""
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        for node in ast.walk(self.tree):
            for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                for part in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        names |= set(re.findall(r"[^\W\d]\w*", part.value))
        return frozenset(names)

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        tree = _with_scope_rules(self.tree, postponed=self.postpones)
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
        used |= _globals_read_by_classes(tree)
        return frozenset(bound), frozenset(used - bound)


def read_code(text: str, *, postponed_annotations: bool = False) -> Code:
    """Parse a cell's text. ``postponed_annotations``: whether an earlier cell has the future import, which applies to
    all later cells."""
    lines = python_lines(text)
    magics: list[tuple[int, str]] = []
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse("\n".join(lines) + "\n")
                # compile() refuses more than ast.parse() (`return` at the top level); notebooks may await there
                compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            break
        except SyntaxError as error:
            if len(magics) >= _MAX_MAGICS or not _blank(lines, error.lineno, magics):
                return Code(error=error, magics=tuple(magics))
        except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, too deep nesting
            return Code(error=SyntaxError(str(error) or type(error).__name__))
    return Code(tree=tree, magics=tuple(magics), postponed=postponed_annotations)


def python_lines(text: str) -> list[str]:
    """The lines as Python and editors count them; ``str.splitlines`` also splits at a form feed or U+2028."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def unresolved(code: Code, available: Iterable[str]) -> list[str]:
    """Names that ``code`` needs and that are neither Python's nor ``available``, in the order of their first use."""
    missing = code.needed - BUILTINS - MODULE_NAMES - frozenset(available)
    return sorted(missing, key=lambda name: (code.line_of(name) or 0, name))


# -------------------------------------------------------------------------------------------------------------- helpers


def _blank(lines: list[str], number: int | None, magics: list[tuple[int, str]]) -> bool:
    """Replace a line that does not parse, if it is IPython's, by Python that binds the same names."""
    if number is None or not 1 <= number <= len(lines):
        return False
    match = _MAGIC_LINE.fullmatch(lines[number - 1])
    if match is None:
        return False
    magics.append((number, lines[number - 1].strip()))
    target = match["target"]
    lines[number - 1] = f"{match['indent']}{target.strip()} = None" if target else f"{match['indent']}pass"
    while lines[number - 1 :] and magics[-1][1].endswith("\\") and number < len(lines):  # continuation lines
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


def _globals_read_by_classes(tree: ast.Module) -> set[str]:
    """Names that a class body reads before it binds them (``class A: x = x``): Python then reads the global, although
    the symbol table calls the name local to the class. A name that is bound in any branch before counts as bound."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bound: set[str] = set()
            for statement in node.body:
                read, written = _names_of_scope(statement)
                if isinstance(statement, _BLOCKS):
                    bound |= written  # a block may bind a name in one line and read it in the next
                names |= read - bound
                bound |= written
    return names


_BLOCKS = ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.TryStar | ast.With | ast.AsyncWith | ast.Match


def _names_of_scope(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names that a statement reads, and those that it binds, in its own scope: not inside functions and classes."""
    read: set[str] = set()
    bound: set[str] = set()
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            read.add(node.target.id)
        if isinstance(node, ast.alias):
            bound.add(_bound_by_alias(node))
        for attribute in ("name", "rest"):  # of functions, classes, exception handlers and patterns
            if isinstance(name := getattr(node, attribute, None), str):
                bound.add(name)
        pending += _parts_in_scope(node)
    return read, bound


def _parts_in_scope(node: ast.AST) -> Iterable[ast.AST]:
    """The children of a node that run in the scope around it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *_defaults(node.args)]
    if isinstance(node, ast.Lambda):
        return _defaults(node.args)
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return [node.generators[0].iter]
    return ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> list[ast.AST]:
    return [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)]


class _ScopeRules(ast.NodeTransformer):
    """Applies the three changes that the module's docstring lists."""

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
        uses = [_as_loads(target) for target in node.targets]
        value: ast.expr = uses[0] if len(uses) == 1 else ast.Tuple(elts=uses, ctx=ast.Load())
        return ast.copy_location(ast.Expr(value=value), node)


def _as_loads(target: ast.expr) -> ast.expr:
    """Expressions that read the names of a ``del`` statement."""
    if isinstance(target, ast.Tuple | ast.List):
        return ast.Tuple(elts=[_as_loads(element) for element in target.elts], ctx=ast.Load())
    if isinstance(target, ast.Name):
        return ast.Name(id=target.id, ctx=ast.Load())
    return target


def _with_scope_rules(tree: ast.Module, *, postponed: bool) -> ast.Module:
    import copy

    changed: ast.Module = _ScopeRules(postponed=postponed).visit(copy.deepcopy(tree))
    return ast.fix_missing_locations(changed)
