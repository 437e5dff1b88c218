"""``%quiz`` and ``%lab`` in a real kernel."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.kernel

SOURCES = (
    "%load_ext nbflow",
    "%quiz",
    "%quiz dag_concepts",
    "%quiz dag_concepts 9 3",
    "%lab",
    "%lab 01_hello_dag",
    "%lab 01_hello_dag 1",
)
MISTAKES = ("%quiz dag_concept", "%quiz dag_concepts three", "%lab 01_hello", "%lab 01_hello_dag nine")


@pytest.fixture
def shown(execute) -> Any:
    def only(notebook: Any) -> None:
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        notebook.cells = code[: len(SOURCES) + len(MISTAKES)]
        for cell, source in zip(notebook.cells, (*SOURCES, *MISTAKES), strict=True):
            cell.source = source
            cell.metadata.tags = ["raises-exception"] if source in MISTAKES else []

    return execute("labs/01_hello_dag.ipynb", change=only)


def output_of(result: Any, source: str) -> Any:
    (output,) = next(cell for cell in result.notebook.cells if cell.source == source).outputs
    return output


def test_the_magics_show_a_form_and_its_text_and_mistakes_as_one_line(shown):
    quiz = output_of(shown, "%quiz dag_concepts").data
    assert quiz.keys() == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert "Which of these jobs suit an orchestrator" in quiz["text/plain"]
    assert output_of(shown, "%quiz").data["text/plain"].startswith("Quizzes: dag_concepts.")
    assert output_of(shown, "%lab").data["text/plain"].startswith("Labs: 01_hello_dag.")
    assert output_of(shown, "%quiz dag_concepts 9 3").data["text/plain"].startswith("Question 9: right.")
    assert output_of(shown, "%lab 01_hello_dag").data["text/plain"].startswith("Hello, DAG: 0 of 5 exercises passed")
    assert "There is no DAG `hello` yet." in output_of(shown, "%lab 01_hello_dag 1").data["text/plain"]
    for source in MISTAKES:
        assert len(output_of(shown, source).traceback) == 1
    assert "Did you mean 'dag_concepts'?" in output_of(shown, "%quiz dag_concept").evalue
