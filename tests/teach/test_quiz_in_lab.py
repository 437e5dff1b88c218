"""The quiz's form in JupyterLab, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.conftest import browser, lab, open_notebook  # noqa: F401
from tests.notebook.notebooks import notebook

pytestmark = pytest.mark.browser


def test_a_question_is_answered_in_the_form(open_notebook: Callable[..., Any], tmp_path: Path) -> None:  # noqa: F811
    # Given a quiz, open in JupyterLab
    page = open_notebook("quiz.ipynb", notebook("%load_ext nbflow", "%quiz dag_concepts"))
    page.run_cell(0)
    page.run_cell(1)
    form = page.cell(1)
    form.get_by_role("button", name="Check 6").wait_for()
    # When the wrong answer is chosen
    form.get_by_label("a) It runs: one of the two has succeeded.").check()
    form.get_by_role("button", name="Check 6").click()
    # Then the form shows that it is wrong, but not the right answer
    form.get_by_text("Try again.").wait_for()
    form.get_by_text("0 of 10 right").first.wait_for()
    # When the right answer is chosen, then the form explains it
    form.get_by_label("d) It is skipped too.").check()
    form.get_by_role("button", name="Check 6").click()
    form.get_by_text("skips a task when an upstream task was skipped").wait_for()
    form.get_by_text("1 of 10 right").first.wait_for()
    # When an answer is typed, then it counts too
    form.get_by_placeholder("your answer").fill("3")
    form.get_by_role("button", name="Check 9").click()
    form.get_by_text("2 of 10 right").first.wait_for()
    form.screenshot(path=tmp_path / "quiz.png")
