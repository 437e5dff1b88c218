"""The modules that each start loads: heavy packages only where needed. An import stands inside a function only if that
keeps a start quick or breaks a cycle."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grimp
import pytest

from nbflow.cli.main import GROUPS
from tests.leaf.test_import_graph import cycle_of

ROOT = Path(__file__).parents[2]
HEAVY = frozenset(
    {
        "IPython", "alembic", "asyncio", "croniter", "cryptography", "graphviz", "ipywidgets", "jinja2", "jsonschema",
        "nbclient", "nbformat", "numpy", "pandas", "pendulum", "psycopg", "re2", "rich", "sqlalchemy", "sqlparse",
        "watchfiles", "yaml",
    }
)  # fmt: skip
"""Packages that slow a start by ten milliseconds or more."""

DAG_FILE = """
from datetime import datetime
from nbflow import DAG, Label, Param, TaskGroup, chain, task
from nbflow.operators.bash import BashOperator
from nbflow.operators.python import PythonOperator
with DAG("d", schedule="@daily", start_date=datetime(2024, 1, 1), catchup=False) as dag:
    @task
    def t(): return 1
    t() >> BashOperator(task_id="b", bash_command="true")
"""
COMMAND = "from nbflow.cli.main import main\nmain({words!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``code`` is run in a new interpreter, with a home whose ``dags/d.py`` is a DAG file. ``needs``: the packages of
    HEAVY that it loads (SQLAlchemy loads asyncio)."""

    code: str
    needs: frozenset[str] = frozenset()


def command(*words: str, needs: set[str] | None = None) -> Start:
    return Start(code=COMMAND.format(words=list(words)), needs=frozenset(needs or ()))


STARTS: Mapping[str, Start] = {
    "import nbflow": Start(code="import nbflow"),
    "a DAG file": Start(code=DAG_FILE),
    "version": command("version"),
    "dags list": command("dags", "list", needs={"asyncio", "sqlalchemy"}),
    "dags test": command(
        "dags", "test", "d", "2024-01-05", "-S", "dags/d.py", needs={"asyncio", "croniter", "sqlalchemy"}
    ),
    "a base fork server": Start(
        code="from nbflow.execution.fork_server_main import nbflow_user_code\nnbflow_user_code()"
    ),
    "%load_ext nbflow": Start(
        code="from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance().run_line_magic('load_ext', 'nbflow')",
        needs=frozenset({"IPython", "asyncio"}),
    ),
    "pytest's plugin": Start(code="import nbflow.testing"),
    **{f"{group} --help": command(group, "--help") for group in GROUPS},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a DAG file and a migrated metastore."""
    home = tmp_path_factory.mktemp("start")
    (home / "dags").mkdir()
    (home / "dags" / "d.py").write_text(DAG_FILE)
    subprocess.run([sys.executable, "-m", "nbflow", "db", "migrate"], cwd=home, env=_environ(home), check=True)
    return home


def _environ(home: Path) -> dict[str, str]:
    return {**os.environ, "NBFLOW_HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT)}


@cache
def _loaded(name: str, home: Path) -> frozenset[str]:
    code = f"{STARTS[name].code}\nimport sys\nprint(*sorted(sys.modules), file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=_environ(home), capture_output=True, text=True, check=True
    )
    return frozenset(process.stderr.strip().splitlines()[-1].split())


@pytest.mark.parametrize("name", STARTS)
def test_a_start_loads_only_the_heavy_packages_that_it_needs(name: str, folder: Path) -> None:
    assert HEAVY & _loaded(name, folder) == STARTS[name].needs


# ----------------------------------------------------------------------------------------- imports inside functions


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerImport:
    """An import inside a function."""

    module: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.imported}"


def _module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inner_imports(path: Path, known: frozenset[str]) -> Iterator[InnerImport]:
    """The imports inside the functions of a module, except those in a ``try``, which may fail."""

    def walk(node: ast.AST, inside: bool) -> Iterator[InnerImport]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Try):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom) and inside:
                for name in _names(child, known):
                    yield InnerImport(module=_module_of(path), imported=name, line=child.lineno)
            else:
                yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    yield from walk(ast.parse(path.read_text("utf-8")), False)


def _names(node: ast.Import | ast.ImportFrom, known: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.level == 0:
        for alias in node.names:
            inside = f"{node.module}.{alias.name}"
            yield inside if inside in known else str(node.module)


REQUIRED = frozenset({"alembic", "croniter", "cryptography", "jinja2", "pendulum", "sqlalchemy", "watchfiles"})
"""Top-level modules of the packages that every installation has."""


def test_an_import_inside_a_function_keeps_a_start_quick_or_breaks_a_cycle(folder: Path) -> None:
    # Given the imports at the top of each module, and the modules that each start loads
    full_graph = grimp.build_graph("nbflow", exclude_type_checking_imports=True, cache_dir=None)
    known = frozenset(full_graph.modules)
    paths = [path for path in (ROOT / "nbflow").rglob("*.py") if "example_dags" not in path.parts]
    inner_list = [inner for path in paths for inner in inner_imports(path, known)]
    inner_pairs = {(inner.module, inner.imported) for inner in inner_list}
    graph = {module: full_graph.find_modules_directly_imported_by(module) for module in known}
    top = {
        module: {name for name in imported if (module, name) not in inner_pairs} for module, imported in graph.items()
    }
    starts = [_loaded(name, folder) for name in STARTS]

    def loaded_by(name: str) -> set[str]:
        """The modules of nbflow that importing a module loads."""
        modules, pending = set(), [name]
        while pending:
            module = pending.pop()
            if module not in modules and module in top:
                modules.add(module)
                pending += [*top[module], module.rpartition(".")[0]]
        return modules or {name}

    def is_needless(inner: InnerImport) -> bool:
        package = inner.imported.partition(".")[0]
        if inner.module == "nbflow" or (package != "nbflow" and package not in REQUIRED):
            return False
        if any(inner.module in start and not loaded_by(inner.imported) <= start for start in starts):
            return False
        if inner.imported not in top:
            return not cycle_of(top)
        return not cycle_of({**top, inner.module: top[inner.module] | {inner.imported}})

    # Then each import inside a function keeps a start quick or breaks a cycle
    assert [str(inner) for inner in inner_list if is_needless(inner)] == []
