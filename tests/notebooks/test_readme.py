"""The README is true: its generated parts are current, its examples load, and its paths and targets exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from nbflow.sources.notebooks import Cell, dag_sources
from tests.notebooks.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[a-zA-Z0-9_-]+", line)[0] for line in requirements}  # type: ignore[index]


def named_in(section: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    table = README.split(f"| {section} | for |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`([^`]+)`", " ".join(rows)))


def test_the_generated_parts_and_the_picture_are_current():
    """`make docs` updates them."""
    process = subprocess.run(
        [sys.executable, "docs/generate_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def test_the_two_commands_come_first():
    assert [line.split("#")[0].strip() for line in README.splitlines()[1:3]] == ["make demo", "make test"]


def test_the_first_dag_loads_as_a_cell_of_a_notebook():
    from nbflow.sources.loading import load_units

    source = re.search(r"```python\n(%%dag .*?)```", README, re.DOTALL)[1]  # type: ignore[index]
    (dag,) = dag_sources([Cell(index=0, name="cell 1", source=source, filename="<cell 1>", shown="cell 1")])
    loaded = load_units(dag.units("readme.ipynb"), path="readme.ipynb", root=".", text=source)
    assert loaded.import_errors == ()
    assert {name: spec.tasks["shout"].upstream for name, spec in loaded.specs.items()} == {"hello": ("greet",)}


def test_the_magics_that_it_shows_can_be_parsed():
    from nbflow.notebook.dag_line_magic import parse

    lines = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("%dag ")]
    assert len(lines) == 4
    for line in lines:
        parse(line.removeprefix("%dag "))


def test_it_lists_each_dependency_with_its_purpose():
    assert named_in("needed always") == names(PROJECT["dependencies"])
    assert named_in("extra `lab`") == names(PROJECT["optional-dependencies"]["lab"])


def test_the_paths_that_it_names_exist():
    rows = [line for line in README.split("## Where things are")[1].split("##")[0].splitlines() if line.startswith("|")]
    paths = [path for row in rows for path in re.findall(r"`([\w./]+[/y])`", row.split("|")[1])]
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "nbflow" / path).exists(), path


def test_the_targets_that_it_names_are_in_the_makefile():
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_the_targets_of_its_links_exist(path):
    assert (ROOT / path).is_file()
