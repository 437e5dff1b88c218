"""The DAGs that come with nbflow: loaded only on request; each runs, and a hostile conf stays data."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbflow.services.dag_processor import EXAMPLES
from nbflow.services.dag_test import run_test
from nbflow.sources.loading import load_source

FILES = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "__init__.py")
HOSTILE = 'x\'); DROP TABLE guests; -- $(touch pwned) `touch pwned` ../../pwned \\0 {{ 7 * 7 }} "; touch pwned; "'


def load(path: Path):
    loaded = load_source(path)
    assert (loaded.import_errors, loaded.warnings) == ((), ())
    (dag,) = loaded.dags
    return dag


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_named_after_its_file_and_runs(path, memory_app):
    dag = load(path)
    run = run_test(dag, logical_date="2024-01-31", app=memory_app)

    assert (dag.dag_id, run.state.value) == (path.stem, "success")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hostile_conf_stays_data(path, memory_app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_test(load(path), logical_date="2024-01-31", run_conf={"name": HOSTILE}, app=memory_app)

    assert run.state.value == "success"
    assert not [path for path in tmp_path.rglob("*") if "pwned" in path.name]
    xcoms = " ".join(text for _, _, text in memory_app.store.xcoms(run.key))
    assert "49" not in xcoms


def test_examples_are_loaded_only_with_load_examples(make_stage):
    without, with_them = make_stage(), make_stage(CORE__LOAD_EXAMPLES="true")
    for stage in (without, with_them):
        stage.process()

    assert without.store.dags() == []
    assert [row.dag_id for row in with_them.store.dags()] == [path.stem for path in FILES]
    assert with_them.store.import_errors() == []
    assert {with_them.store.version(path.stem).origin for path in FILES} == {"example"}


def test_switching_examples_off_makes_them_stale(make_stage):
    stage = make_stage(CORE__LOAD_EXAMPLES="true")
    stage.process()
    stage.processor.stop()
    stage.processor = None
    object.__setattr__(stage.app.settings.core, "load_examples", False)
    stage.process()

    assert stage.store.dags() == []


def test_the_example_of_a_shell_command_prints_its_conf(memory_app):
    run = run_test(load(EXAMPLES / "example_bash.py"), run_conf={"name": "O'Hara $HOME"}, app=memory_app)

    texts = {key.task_id: text for key, name, text in memory_app.store.xcoms(run.key) if name == "return_value"}
    assert texts == {"greet": '"hello, O\'Hara $HOME"', "shout": '"HELLO, O\'HARA $HOME"'}
