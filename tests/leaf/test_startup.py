"""What each start loads: heavy packages only where they are needed; and imports inside functions only where they keep a
start quick, or break a cycle."""

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
"""Packages that take a start ten milliseconds or more."""

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
    """``code`` is run in a fresh interpreter with a home in which ``dags/d.py`` is a DAG file. ``needs``: what it loads
    of HEAVY (SQLAlchemy loads asyncio)."""

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
    "a base fork server": Start(code="from nbflow.execution.user_code import nbflow_user_code\nnbflow_user_code()"),
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
    """A home with a DAG file, and its tables made."""
    made = tmp_path_factory.mktemp("start")
    (made / "dags").mkdir()
    (made / "dags" / "d.py").write_text(DAG_FILE)
    subprocess.run([sys.executable, "-m", "nbflow", "db", "migrate"], cwd=made, env=_environ(made), check=True)
    return made


def _environ(home: Path) -> dict[str, str]:
    return {**os.environ, "NBFLOW_HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT)}


@cache
def _loaded(name: str, home: Path) -> frozenset[str]:
    code = f"{STARTS[name].code}\nimport sys\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=_environ(home), capture_output=True, text=True, check=True
    )
    return frozenset(done.stderr.strip().splitlines()[-1].split())


@pytest.mark.parametrize("name", STARTS)
def test_a_start_loads_what_it_needs_of_the_heavy_packages_and_no_more(name: str, folder: Path) -> None:
    assert HEAVY & _loaded(name, folder) == STARTS[name].needs


# ----------------------------------------------------------------------------------------- imports inside functions


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """An import inside a function."""

    module: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.imported}"


def _module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inner_imports(path: Path, known: frozenset[str]) -> Iterator[Inner]:
    """The imports of nbflow's modules and of packages inside the functions of a module. One in a ``try`` stays: it may
    fail. So does one of a package that not every install has."""

    def walk(node: ast.AST, inside: bool) -> Iterator[Inner]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Try):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom) and inside:
                for name in _names(child, known):
                    yield Inner(module=_module_of(path), imported=name, line=child.lineno)
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


ALWAYS = frozenset({"alembic", "croniter", "cryptography", "jinja2", "pendulum", "sqlalchemy", "watchfiles"})
"""Packages of every install, as their modules are called."""


def test_an_import_inside_a_function_keeps_a_start_quick_or_breaks_a_cycle(folder: Path) -> None:
    # Given what each module imports at its top, and all that each start loads
    whole = grimp.build_graph("nbflow", exclude_type_checking_imports=True, cache_dir=None)
    known = frozenset(whole.modules)
    paths = [path for path in (ROOT / "nbflow").rglob("*.py") if "example_dags" not in path.parts]
    inner = [one for path in paths for one in inner_imports(path, known)]
    hidden = {(one.module, one.imported) for one in inner}
    graph = {module: whole.find_modules_directly_imported_by(module) for module in known}
    top = {module: {name for name in found if (module, name) not in hidden} for module, found in graph.items()}
    starts = [_loaded(name, folder) for name in STARTS]

    def brings(name: str) -> set[str]:
        """What importing a module loads of nbflow's."""
        found, todo = set(), [name]
        while todo:
            module = todo.pop()
            if module not in found and module in top:
                found.add(module)
                todo += [*top[module], module.rpartition(".")[0]]
        return found or {name}

    def needless(one: Inner) -> bool:
        package = one.imported.partition(".")[0]
        if one.module == "nbflow" or (package != "nbflow" and package not in ALWAYS):
            return False
        if any(one.module in start and not brings(one.imported) <= start for start in starts):
            return False
        return not cycle_of({**top, one.module: top[one.module] | {one.imported}} if one.imported in top else top)

    # Then each import inside a function has a reason to be there
    assert [str(one) for one in inner if needless(one)] == []
