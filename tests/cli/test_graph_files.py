"""DAGs as pictures: ``dags show --save`` and ``dags test --save-dagrun``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from nbflow.state_colors import palettes
from tests.cli.conftest import FAILING

KINDS = {"svg": b"<svg ", "dot": b"digraph sales {", "gv": b"digraph sales {", "png": b"\x89PNG\r\n", "pdf": b"%PDF-"}


@pytest.mark.parametrize("form", KINDS)
def test_each_form_is_saved(nbflow, sales, tmp_path, dot_path, form):
    path = tmp_path / f"a.{form.upper() if form == 'png' else form}"
    done = nbflow("dags", "show", "sales", "-S", sales, "--save", str(path))
    assert (done.code, done.out, done.err) == (0, "", f"The graph of sales was saved to {path}.\n")
    assert path.read_bytes().startswith(KINDS[form])


@pytest.mark.parametrize("form", KINDS)
def test_the_graph_of_a_test_is_saved(nbflow, sales, tmp_path, dot_path, form):
    path = tmp_path / f"a.{form}"
    assert nbflow("dags", "test", "sales", "-S", sales, "--save-dagrun", str(path)).code == 0
    assert path.read_bytes().startswith(KINDS[form])


def test_a_runs_states_are_words_and_colours(nbflow, dag_file, tmp_path, dot_path):
    # Given a run in which one task failed
    nbflow("dags", "test", "failing", "2024-01-05", "-S", dag_file("failing.py", FAILING))
    # When its graph is shown
    done = nbflow("dags", "show", "failing", "--run", "2024-01-05")
    # Then each task has its state's word and colours
    tint = palettes()[0].states["upstream_failed"]
    assert '\twrong [label="wrong\nfailed"]' in done.out
    assert f'\tafter [color="{tint.line}" fillcolor="{tint.fill}" fontcolor="{tint.text}"]' in done.out
    # And so it is in Graphviz's picture and in nbflow's own
    nbflow("dags", "show", "failing", "--run", "last", "--save", str(tmp_path / "a.png"))
    nbflow("dags", "show", "failing", "--run", "last", "--save", str(tmp_path / "a.svg"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "upstream_failed" in (tmp_path / "a.svg").read_text()


def test_a_mapped_task_has_the_state_that_says_most(nbflow, dag_file):
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
@pytest.mark.parametrize("form", ["png", "pdf"])
def test_without_graphviz_own_pictures_and_dot_are_left(nbflow, sales, tmp_path, monkeypatch, command, form):
    # Given a machine without dot
    monkeypatch.setenv("PATH", str(tmp_path))
    verb, option = command
    # When a picture is asked for that only Graphviz can make
    done = nbflow("dags", verb, "sales", "-S", sales, option, str(tmp_path / f"a.{form}"))
    # Then the last line says what to install
    assert done.err.endswith(
        f"nbflow: A .{form} file needs Graphviz, and its program dot is not on PATH. "
        "Install Graphviz (apt-get install graphviz), or save as .svg or .dot.\n"
    )
    assert (done.code, [*tmp_path.glob("a.*")]) == (1, [])
    # And what a test found is not lost
    assert ("success" in done.out) == (verb == "test")
    # And the other forms work
    for other in ("svg", "dot"):
        assert nbflow("dags", verb, "sales", "-S", sales, option, str(tmp_path / f"a.{other}")).code == 0


def test_a_form_that_nobody_can_write_is_named(nbflow, sales, tmp_path):
    done = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "a.docx"))
    assert (done.code, done.out) == (1, "")
    assert done.err == f"nbflow: {tmp_path}/a.docx: unknown format .docx. Save as .svg, .dot, .png or .pdf.\n"


def test_a_folder_that_is_not_there_is_named(nbflow, sales, tmp_path):
    done = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "none" / "a.svg"))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert str(tmp_path / "none" / "a.svg") in done.err


def test_own_pictures_hold_the_labels(nbflow, dag_file, tmp_path: Path):
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
