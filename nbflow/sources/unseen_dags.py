"""DAGs of a notebook that no scheduler sees: only ``%%dag`` cells define DAGs.

The other cells of a notebook are not run, so the code is only read: a name counts as Airflow's ``DAG`` or ``dag`` if a
cell imports it from nbflow or airflow.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nbflow.sources.free_names import Code

_PACKAGES = frozenset({"nbflow", "airflow"})
_MUST_BE_FIRST = "%%dag is not in the first line of its cell, so the cell defines no DAG. Move it there."


def dag_names(codes: Iterable[Code]) -> frozenset[str]:
    """The names by which cells refer to ``DAG`` and ``dag``: "DAG", or "airflow.DAG" of an imported module."""
    names: set[str] = set()
    for code in codes:
        for node in ast.walk(code.tree) if code.tree is not None else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _PACKAGES:
                names |= {alias.asname or alias.name for alias in node.names if alias.name in ("DAG", "dag")}
            elif isinstance(node, ast.Import):
                modules = [alias.asname or alias.name for alias in node.names if alias.name in _PACKAGES]
                names |= {f"{module}.{name}" for module in modules for name in ("DAG", "dag")}
    return frozenset(names)


def unseen_dags(code: Code, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and message of each DAG that a cell without ``%%dag`` would define. ``names``: see :func:`dag_names`."""
    late = [line for line, text in code.magics if text.split()[:1] == ["%%dag"]]
    if late:
        yield late[0], _MUST_BE_FIRST
        return
    for node in code.tree.body if code.tree is not None else ():
        dag = next((expression for expression in _expressions(node) if _name_of(expression) in names), None)
        if dag is not None:
            yield dag.lineno, _advice(node)


def _expressions(node: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement that may define a DAG."""
    match node:
        case ast.With(items=items):
            yield from (item.context_expr for item in items)
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) | ast.Expr(value=value):
            yield value
        case ast.FunctionDef(decorator_list=decorators):
            yield from decorators


def _name_of(expression: ast.expr) -> str:
    target = expression.func if isinstance(expression, ast.Call) else expression
    return ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute) else ""


def _advice(node: ast.stmt) -> str:
    what = f"@dag function {node.name!r}" if isinstance(node, ast.FunctionDef) else "DAG"
    return (
        f"the {what} is in a cell without %%dag, so no scheduler sees it. Write %%dag in the first line of the cell, "
        "or move its code into a .py file."
    )
