"""Labs as a learner runs them: unsolved and solved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nbflow.teach.lab_registry import LABS
from nbflow.teach.progress import Progress
from tests.notebooks.conftest import ROOT

pytestmark = pytest.mark.kernel


def cells_by_tag(path: str) -> dict[str, str]:
    """Tag of an exercise or answer -> text of its cell."""
    raw = json.loads((ROOT / path).read_text("utf-8"))
    return {
        tag: "".join(cell["source"])
        for cell in raw["cells"]
        for tag in cell["metadata"].get("tags", ())
        if tag.startswith(("exercise-", "answer-"))
    }


@pytest.mark.parametrize("name", LABS)
def test_an_unsolved_lab_shows_what_is_missing_without_a_traceback(execute, name):
    result = execute(f"labs/{name}.ipynb")
    assert result.errors() == []
    for number in range(1, len(LABS[name].exercises) + 1):
        text = result.text(f"lab.check({number}")
        assert f"Exercise {number}: {LABS[name].exercises[number - 1].title}: not yet" in text
        assert "missing" in text
        assert "Found: " in text


@pytest.mark.parametrize("name", LABS)
def test_the_solution_passes_every_check(execute, name):
    result = execute(f"labs/solutions/{name}.ipynb")
    assert result.errors() == []
    passed = Progress(result.home).items("lab", name)
    assert sorted(passed) == [str(number) for number in range(1, len(LABS[name].exercises) + 1)]
    assert all(item.passed_at and item.tries == 1 for item in passed.values())


@pytest.mark.parametrize("name", LABS)
def test_the_cells_of_the_solution_solve_the_lab(execute, name):
    """The lab is solved with the texts of the solution's cells."""
    solution = cells_by_tag(f"labs/solutions/{name}.ipynb")
    assert solution.keys() == cells_by_tag(f"labs/{name}.ipynb").keys()

    def fill(notebook: Any) -> None:
        for cell in notebook.cells:
            for tag in cell.metadata.get("tags", ()):
                cell.source = solution.get(tag, cell.source)

    result = execute(f"labs/{name}.ipynb", change=fill)
    assert result.errors() == []
    assert all(item.passed_at for item in Progress(result.home).items("lab", name).values())
    assert f"{len(LABS[name].exercises)} of {len(LABS[name].exercises)} exercises passed" in result.last()


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("labs/**/*.ipynb")))
def test_labs_are_stored_without_outputs(path):
    raw = json.loads((ROOT / path).read_text("utf-8"))
    assert [cell for cell in raw["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
