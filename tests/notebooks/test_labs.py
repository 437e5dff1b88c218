"""Labs from the learner's side: untouched, solved, and with a mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nbflow.teach.lab_registry import LABS
from nbflow.teach.progress import Progress
from tests.notebooks.conftest import ROOT

pytestmark = pytest.mark.kernel


def cells_by_tag(path: str) -> dict[str, str]:
    """exercise or answer -> the text of its cell."""
    raw = json.loads((ROOT / path).read_text("utf-8"))
    return {
        tag: "".join(cell["source"])
        for cell in raw["cells"]
        for tag in cell["metadata"].get("tags", ())
        if tag.startswith(("exercise-", "answer-"))
    }


@pytest.mark.parametrize("name", LABS)
def test_an_untouched_lab_says_what_is_missing_without_a_traceback(execute, name):
    done = execute(f"labs/{name}.ipynb")
    assert done.errors() == []
    for number in range(1, len(LABS[name].exercises) + 1):
        text = done.text(f"lab.check({number}")
        assert f"Exercise {number}: {LABS[name].exercises[number - 1].title}: not yet" in text
        assert "missing" in text
        assert "Found: " in text


@pytest.mark.parametrize("name", LABS)
def test_the_solution_passes_every_check(execute, name):
    done = execute(f"labs/solutions/{name}.ipynb")
    assert done.errors() == []
    passed = Progress(done.home).items("lab", name)
    assert sorted(passed) == [str(number) for number in range(1, len(LABS[name].exercises) + 1)]
    assert all(item.passed_at and item.tries == 1 for item in passed.values())


@pytest.mark.parametrize("name", LABS)
def test_the_solution_fits_into_the_lab(execute, name):
    """What the solution's cells hold, put into the lab's own cells, solves the lab."""
    solution = cells_by_tag(f"labs/solutions/{name}.ipynb")
    assert solution.keys() == cells_by_tag(f"labs/{name}.ipynb").keys()

    def fill(notebook: Any) -> None:
        for cell in notebook.cells:
            for tag in cell.metadata.get("tags", ()):
                cell.source = solution.get(tag, cell.source)

    done = execute(f"labs/{name}.ipynb", change=fill)
    assert done.errors() == []
    assert all(item.passed_at for item in Progress(done.home).items("lab", name).values())
    assert f"{len(LABS[name].exercises)} of {len(LABS[name].exercises)} exercises passed" in done.last()


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("labs/**/*.ipynb")))
def test_labs_are_kept_without_outputs(path):
    raw = json.loads((ROOT / path).read_text("utf-8"))
    assert [cell for cell in raw["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
