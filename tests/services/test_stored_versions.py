"""Every loader of a stored version applies the home's settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nbflow.app import App
from nbflow.cli.main import main
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import NbflowError
from nbflow.execution import fork_server_main
from nbflow.notebook.session import current_session, end_session
from nbflow.services.callbacks import run_callbacks
from nbflow.services.dag_processor import _ProcessorLoop
from nbflow.sources.loading import load_source
from nbflow.sources.version_loading import LoadingOptions, VersionSource, load_version
from nbflow.store.base import DagVersion, PendingCallback

NOW = datetime(2024, 3, 1, tzinfo=UTC)
SOURCE = """
from nbflow import DAG
from nbflow.operators.empty import EmptyOperator

with DAG("d", schedule="@daily", on_success_callback=print):
    EmptyOperator(task_id="t")
"""
NO_START = "InvalidDag: DAG 'd' has catchup=True and no start_date"


@pytest.fixture
def version(tmp_path: Path) -> DagVersion:
    """A version whose file was deleted. With catchup by default, its DAG lacks a start date."""
    (tmp_path / "d.py").write_text(SOURCE)
    loaded = load_source(tmp_path / "d.py")
    (tmp_path / "d.py").unlink()
    return DagVersion(dag_id="d", number=1, spec=loaded.specs["d"], fileloc=loaded.path, files=loaded.files)


@pytest.fixture
def app(home: Path, version: DagVersion, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The home of that version, in which DAGs have catchup by default now."""
    monkeypatch.setenv("NBFLOW__SCHEDULER__CATCHUP_BY_DEFAULT", "true")
    with App.open() as opened:
        opened.store.register(version, now=NOW, paused=True)
        opened.operations().trigger("d", run_id="r")
        yield opened
        end_session()


def _raised(call: Callable[[], object]) -> str:
    with pytest.raises(NbflowError) as error:
        call()
    return str(error.value)


def _through_json(payload: object) -> dict[str, object]:
    return dict(json.loads(json.dumps(payload)))


def of_a_notebook(app: App, version: DagVersion, _: pytest.CaptureFixture[str]) -> str:
    return _raised(lambda: current_session().dag_object("d"))


def of_the_sequential_executor(app: App, version: DagVersion, _: pytest.CaptureFixture[str]) -> str:
    return _raised(lambda: app.sequential_executor("me")._dag_of("d", 1))  # type: ignore[attr-defined]


def of_the_local_executor(app: App, version: DagVersion, _: pytest.CaptureFixture[str]) -> str:
    executor = app.local_executor("me")
    try:
        source = executor._supervisor._source(version)  # type: ignore[attr-defined]
    finally:
        executor.stop()
    return fork_server_main.load(_through_json(source.payload)).error


def of_a_callback(app: App, version: DagVersion, _: pytest.CaptureFixture[str]) -> str:
    callback = PendingCallback(callback_id=1, run=RunKey("d", "r"), key=TaskKey("t"), kind="success", version=1, at=NOW)
    runner = _ProcessorLoop(app.processor(), app.store).callbacks
    return str(run_callbacks(_through_json(runner._payload(callback)))["errors"][0])


def of_a_timetable(app: App, version: DagVersion, _: pytest.CaptureFixture[str]) -> str:
    return _raised(lambda: app.timetable_client().runs_between(version, NOW, NOW, NOW))


def of_a_command(app: App, version: DagVersion, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["tasks", "test", "d", "t"]) == 1
    return capsys.readouterr().err


LOADERS = (
    of_a_notebook,
    of_the_sequential_executor,
    of_the_local_executor,
    of_a_callback,
    of_a_timetable,
    of_a_command,
)


@pytest.mark.parametrize("load", LOADERS)
def test_every_loader_of_a_version_gets_the_settings(
    app: App, version: DagVersion, capsys: pytest.CaptureFixture[str], load: Callable[..., str]
) -> None:
    assert NO_START in load(app, version, capsys)


def test_a_source_is_loaded_from_json(version: DagVersion, tmp_path: Path) -> None:
    # Given the source of a version, and how a home loads it
    loading = LoadingOptions(dags_folder=str(tmp_path), versions_folder=str(tmp_path / "versions"))
    source = VersionSource.of(version, loading)
    # When it is sent as JSON
    received = VersionSource.from_json(_through_json(source.to_json()))
    # Then it is the same, and gives the DAG
    assert received == source
    loaded = load_version(received)
    assert loaded.dag is not None
    assert (loaded.dag.dag_id, loaded.error) == ("d", "")
    assert Path(loaded.loaded.path).is_relative_to(tmp_path / "versions")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "the source no longer defines the DAG 'd'"),
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        (
            "from nbflow import DAG\nDAG('other', schedule='@dayly')",
            "the source no longer defines the DAG 'd'",
        ),
    ],
)
def test_the_error_of_a_source_without_its_dag_has_the_reason(tmp_path: Path, text: str, message: str) -> None:
    loading = LoadingOptions(versions_folder=str(tmp_path))
    source = VersionSource(dag_id="d", fileloc="/gone/d.py", files={"d.py": text}, loading=loading)
    loaded = load_version(source)
    assert (loaded.dag, loaded.error) == (None, message)
