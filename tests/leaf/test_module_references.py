"""The docstrings name modules; the names are those of the files, also after a rename."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "nbflow"
SOURCES = sorted(ROOT.rglob("*.py"))
PACKAGES = sorted(path.parent for path in SOURCES if path.name == "__init__.py")

ROLE = re.compile(r":mod:`~?([\w.]+)`")
ROW = re.compile(r"^    (\w+(?:, \w+)*)  +\S", re.MULTILINE)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)]
    return [text for text in found if text]


def test_each_mod_role_names_a_module() -> None:
    wrong = []
    for path in SOURCES:
        package = module_name(path.parent / "__init__.py")
        for text in docstrings(path):
            for name in ROLE.findall(text):
                full = package + name if name.startswith(".") else name
                if full.startswith("nbflow") and find_spec(full) is None:
                    wrong.append(f"{module_name(path)}: {name}")
    assert wrong == []


def rows_of(package: Path) -> set[str]:
    """The names in the table of modules of a package's docstring."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()), clean=False) or ""
    return {name for row in ROW.findall(docstring) for name in row.split(", ")}


@pytest.mark.parametrize("package", filter(rows_of, PACKAGES), ids=module_name)
def test_a_table_of_modules_lists_the_modules_of_its_package(package: Path) -> None:
    assert rows_of(package) == {path.stem for path in package.glob("[!_]*.py")}
