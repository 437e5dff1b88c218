"""The package: the cost of importing it, and its exports; tests/package tests its dependencies."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nbflow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nbflow"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _run(code: str, **environ: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environ
    ).stdout


def test_importing_nbflow_loads_no_submodules_and_no_heavy_packages():
    loaded = _run("import sys, nbflow; print(*sorted(sys.modules))").split()
    assert [name for name in loaded if name.startswith("nbflow.")] == []
    assert {"sqlalchemy", "pendulum", "jinja2", "croniter", "cryptography", "asyncio"} & set(loaded) == set()


def test_importing_nbflow_opens_no_user_files_and_reads_no_settings(tmp_path):
    code = (
        "import sys, os\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in ('open', 'os.mkdir') else None)\n"
        "import nbflow\n"
        "print(*[path for path in opened if not path.endswith(('.py', '.pyc')) and 'python' not in path], sep='\\n')"
    )
    assert _run(code, NBFLOW_HOME=str(tmp_path / "none"), NBFLOW__CORE__NONSENSE="1").strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        nbflow.nonsense


def test_every_public_name_can_be_imported():
    for name in nbflow.__all__:
        assert getattr(nbflow, name) is not None


def test_type_checkers_see_the_exported_names():
    # Given the imports under `if TYPE_CHECKING`
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.asname or alias.name: (node.module, alias.name) for node in imports for alias in node.names}
    # Then they are the table of exports
    assert {name: module for name, (module, _) in imported.items()} == nbflow._EXPORTS
    assert [name for name, (_, origin) in imported.items() if name != origin] == []


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_version_is_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", nbflow.__version__)


def test_every_target_of_the_makefile_uses_the_environment():
    text = (ROOT / "Makefile").read_text()
    rules = dict(re.findall(r"^([a-z]+):(.*)$", text, re.M))
    without = [name for name, needs in rules.items() if "env" not in needs and name not in {"help", "env", "clean"}]
    assert without == ["test", "newer"]  # test is lint and unit; newer creates an environment with another Python
    assert rules["test"].split("##")[0].split() == ["lint", "unit"]
    assert {"env", "demo", "test", "lint", "bench", "soak", "lab"} <= set(rules)


@pytest.mark.parametrize(
    "imports",
    [
        "from nbflow import dag",
        "import nbflow.authoring.edges; from nbflow import dag",
        "from nbflow import dag; import nbflow.authoring.params; from nbflow import dag",
        "from nbflow.authoring.dag import dag",
    ],
)
def test_dag_is_the_decorator_in_whatever_order_modules_are_imported(imports):
    used = "@dag(schedule=None)\ndef d(): ...\nimport nbflow.authoring.dag\nprint(d().dag_id, nbflow.dag is dag)"
    assert _run(f"{imports}\n{used}") == "d True\n"


def test_the_decorator_has_a_signature():
    assert list(inspect.signature(nbflow.dag).parameters)[:1] == ["dag_id"]
