"""Files of graphs: ``dags show --save`` and ``dags test --save-dagrun``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from nbflow.state_colors import palettes
from tests.cli.conftest import FAILING

FORMATS = {"svg": b"<svg ", "dot": b"digraph sales {", "gv": b"digraph sales {", "png": b"\x89PNG\r\n", "pdf": b"%PDF-"}


@pytest.mark.parametrize("file_format", FORMATS)
def test_show_saves_each_format(nbflow, sales, tmp_path, dot_path, file_format):
    path = tmp_path / f"a.{file_format.upper() if file_format == 'png' else file_format}"
    result = nbflow("dags", "show", "sales", "-S", sales, "--save", str(path))
    assert (result.code, result.out, result.err) == (0, "", f"The graph of sales was saved to {path}.\n")
    assert path.read_bytes().startswith(FORMATS[file_format])


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_dag_test_saves_each_format(nbflow, sales, tmp_path, dot_path, file_format):
    path = tmp_path / f"a.{file_format}"
    assert nbflow("dags", "test", "sales", "-S", sales, "--save-dagrun", str(path)).code == 0
    assert path.read_bytes().startswith(FORMATS[file_format])


def test_the_graph_of_a_run_has_names_and_colours_of_states(nbflow, dag_file, tmp_path, dot_path):
    # Given a run in which one task failed
    nbflow("dags", "test", "failing", "2024-01-05", "-S", dag_file("failing.py", FAILING))
    # When its graph is shown
    result = nbflow("dags", "show", "failing", "--run", "2024-01-05")
    # Then each task has the name and colours of its state
    colours = palettes()[0].states["upstream_failed"]
    assert '\twrong [label="wrong\nfailed"]' in result.out
    assert f'\tafter [color="{colours.line}" fillcolor="{colours.fill}" fontcolor="{colours.text}"]' in result.out
    # And the pictures of Graphviz and of nbflow are saved
    nbflow("dags", "show", "failing", "--run", "last", "--save", str(tmp_path / "a.png"))
    nbflow("dags", "show", "failing", "--run", "last", "--save", str(tmp_path / "a.svg"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "upstream_failed" in (tmp_path / "a.svg").read_text()


def test_a_mapped_task_has_the_state_with_the_highest_priority(nbflow, dag_file):
    # Given a run in which the first of two instances failed
    file = dag_file(
        "mapped.py",
        """
        from nbflow import DAG, task
        with DAG("mapped", schedule=None):
            @task
            def halve(x):
                return 1 / x
            halve.expand(x=[0, 1])
        """,
    )
    nbflow("dags", "test", "mapped", "2024-01-05", "-S", file)
    assert '[label="halve [ ]\nfailed"]' in nbflow("dags", "show", "mapped", "--run", "last").out


@pytest.mark.parametrize("command", [("show", "--save"), ("test", "--save-dagrun")])
@pytest.mark.parametrize("file_format", ["png", "pdf"])
def test_svg_and_dot_are_saved_without_graphviz(nbflow, sales, tmp_path, monkeypatch, command, file_format):
    # Given a machine without dot
    monkeypatch.setenv("PATH", str(tmp_path))
    verb, option = command
    # When a format is requested that needs Graphviz
    result = nbflow("dags", verb, "sales", "-S", sales, option, str(tmp_path / f"a.{file_format}"))
    # Then the last line says what to install
    assert result.err.endswith(
        f"nbflow: A .{file_format} file needs Graphviz, and its program dot is not on PATH. "
        "Install Graphviz (apt-get install graphviz), or save as .svg or .dot.\n"
    )
    assert (result.code, [*tmp_path.glob("a.*")]) == (1, [])
    # And the result of a DAG test is printed
    assert ("success" in result.out) == (verb == "test")
    # And the other formats are saved
    for other in ("svg", "dot"):
        assert nbflow("dags", verb, "sales", "-S", sales, option, str(tmp_path / f"a.{other}")).code == 0


def test_an_unknown_format_is_an_error(nbflow, sales, tmp_path):
    result = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "a.docx"))
    assert (result.code, result.out) == (1, "")
    assert result.err == f"nbflow: {tmp_path}/a.docx: unknown format .docx. Save as .svg, .dot, .png or .pdf.\n"


def test_a_missing_folder_is_an_error(nbflow, sales, tmp_path):
    result = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "none" / "a.svg"))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert str(tmp_path / "none" / "a.svg") in result.err


def test_svg_contains_the_labels(nbflow, dag_file, tmp_path: Path):
    file = dag_file(
        "odd.py",
        """
        from nbflow import DAG
        from nbflow.operators.empty import EmptyOperator
        with DAG("odd", schedule=None):
            EmptyOperator(task_id="a", task_display_name='<b>&amp; "x"')
        """,
    )
    nbflow("dags", "show", "odd", "-S", file, "--save", str(tmp_path / "a.svg"))
    texts = [text for text in ElementTree.parse(tmp_path / "a.svg").getroot().itertext() if text.strip()]
    assert '<b>&amp; "x"' in texts
