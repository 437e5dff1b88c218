"""A pytest plugin for tests of one's own DAGs: ``pip install nbflow`` brings these fixtures.

==============  =======================================================================================================
``dagbag``      the DAGs of the DAGs folder: ``dagbag["sales"]``, ``dagbag.dags``, ``dagbag.import_errors``
``run_task``    one try of one task, without the tasks before it: ``run_task(dag, "extract").value``
``run_dag``     a whole run in this process: ``run_dag(dag).states == {"extract": "success", ...}``
``simulate``    days of scheduling on a simulated clock: ``simulate(dag, start="2024-01-01").runs``
``nbflow_app``  what they stand on: an App with a metastore in memory and a home of the test's own
==============  =======================================================================================================

Nothing outlives a test, and nothing of the user's home is read or written. Variables and connections come from the
environment (``monkeypatch.setenv("NBFLOW_VAR_REGION", "eu")``) or ``nbflow_app.store``.

The DAGs folder is ``--dags-folder``, else ``nbflow_dags_folder`` in the pytest configuration, else ``dags`` beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.authoring.dag import DAG
    from nbflow.core.snapshot import Run
    from nbflow.sim.timeline import Simulation


def pytest_addoption(parser: pytest.Parser) -> None:
    """Called by pytest: the options of this plugin."""
    words = "Folder of the DAG files that the dagbag fixture loads."
    parser.getgroup("nbflow").addoption("--dags-folder", metavar="FOLDER", help=words)
    parser.addini("nbflow_dags_folder", words, default="dags")


# ------------------------------------------------------------------------------------------------------------ the bag


@dataclass(frozen=True, kw_only=True)
class DagBag:
    """What a folder of DAG files defines."""

    folder: Path
    dags: Mapping[str, DAG]
    import_errors: Mapping[str, str]
    """Path relative to the folder -> "line 12: what is wrong", one line for each fault."""
    warnings: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, dag_id: str) -> DAG:
        from nbflow.errors import DagNotFound, did_you_mean

        if dag_id not in self.dags:
            wrong = f"Import errors: {dict(self.import_errors)}." if self.import_errors else ""
            raise DagNotFound(f"{self.folder} defines no DAG {dag_id!r}.{did_you_mean(dag_id, self.dags)}", hint=wrong)
        return self.dags[dag_id]

    def __contains__(self, dag_id: object) -> bool:
        return dag_id in self.dags

    def __iter__(self) -> Iterator[str]:
        return iter(self.dags)

    def __len__(self) -> int:
        return len(self.dags)

    def get_dag(self, dag_id: str) -> DAG | None:
        """As Airflow's DagBag has it: None for one that is not there."""
        return self.dags.get(dag_id)

    def size(self) -> int:
        """As Airflow's DagBag has it."""
        return len(self.dags)


def load_dags(folder: Path, app: App) -> DagBag:
    """Load every file of ``folder`` that may define DAGs; their mistakes become ``import_errors``."""
    from nbflow.sources.discovery import find_dag_files, is_dag_file
    from nbflow.sources.loading import load_source

    dags: dict[str, DAG] = {}
    errors: dict[str, str] = {}
    warned: dict[str, str] = {}
    for path in find_dag_files(folder, app.settings.core.dag_ignore_file_syntax):
        if not is_dag_file(path):
            continue
        name = str(Path(path).relative_to(folder))
        with app.answering():
            loaded = load_source(path, folder=folder, options=app.compile_options(), keep_imports=True)
        lines = [
            f"line {error.line}: {error.message}" if error.line else error.message for error in loaded.import_errors
        ]
        for dag in loaded.dags:
            if dag.dag_id in dags:
                lines.append(f"dag_id {dag.dag_id!r} is defined in {dags[dag.dag_id].fileloc} already")
            else:
                dags[dag.dag_id] = dag
        if lines:
            errors[name] = "\n".join(lines)
        if loaded.warnings:
            warned[name] = "\n".join(loaded.warnings)
    return DagBag(folder=folder, dags=dags, import_errors=errors, warnings=warned)


# ------------------------------------------------------------------------------------------------------ what runs gave


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How one try ended."""

    state: str
    """success, failed, skipped, up_for_reschedule or deferred."""
    xcoms: Mapping[str, Any]
    error: str = ""
    rendered: Mapping[str, Any] = field(default_factory=dict)
    """Template fields that hold templates, as they came out."""

    @property
    def value(self) -> Any:
        """What the task returned."""
        return self.xcoms.get("return_value")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended."""

    run: Run
    states: Mapping[str, Any]
    """Task id -> state; of a mapped task the list of its instances' states."""
    errors: Mapping[str, str]
    """Task (as ``task_id`` or ``task_id[3]``) -> what its last try failed of."""
    xcoms: Mapping[tuple[str, str], Any]
    """(task id, key) -> value; of a mapped task the list of its instances' values."""

    @property
    def state(self) -> str:
        return self.run.state.value

    def value(self, task_id: str) -> Any:
        """What a task returned; None if it returned nothing."""
        return self.xcoms.get((task_id, "return_value"))


class RunTask(Protocol):
    """Type of the ``run_task`` fixture."""

    def __call__(
        self,
        dag: DAG,
        task_id: str,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        upstream: Mapping[str, Any] | None = None,
        map_index: int = -1,
    ) -> TaskResult: ...


class RunDag(Protocol):
    """Type of the ``run_dag`` fixture."""

    def __call__(
        self,
        dag: DAG,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        mark_success_pattern: str | None = None,
    ) -> RunResult: ...


class Simulate(Protocol):
    """Type of the ``simulate`` fixture."""

    def __call__(
        self,
        dag: DAG,
        *outcomes: str,
        start: datetime | str,
        days: float = 7,
        until: datetime | str | None = None,
        seed: int | None = None,
    ) -> Simulation: ...


# ------------------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture
def nbflow_app(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An App with an empty metastore in memory, and a home of the test's own."""
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.store import open_store

    home = tmp_path_factory.mktemp("nbflow-home")
    monkeypatch.setenv("NBFLOW_HOME", str(home))
    with App(settings=Settings.load(os.environ, home), store=open_store("memory://"), environ=os.environ) as app:
        yield app


@pytest.fixture
def dagbag(request: pytest.FixtureRequest, nbflow_app: App) -> DagBag:
    """The DAGs of the DAGs folder."""
    config = request.config
    chosen = config.getoption("--dags-folder") or config.getini("nbflow_dags_folder")
    folder = config.rootpath / Path(chosen).expanduser()
    if not folder.is_dir():
        raise pytest.UsageError(f"{folder} is no folder of DAG files: give --dags-folder, or nbflow_dags_folder.")
    return load_dags(folder, nbflow_app)


@pytest.fixture
def run_task(nbflow_app: App) -> RunTask:
    """Run one try of a task, without the tasks before it and without recording anything. ``upstream`` says what they
    returned: task id -> value (of a mapped task the list of its values), or (task id, key) -> value."""

    def run(
        dag: DAG,
        task_id: str,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        upstream: Mapping[str, Any] | None = None,
        map_index: int = -1,
    ) -> TaskResult:
        from nbflow.core.events import Failed
        from nbflow.services.task_test import state_of, task_test

        given = {(key, "return_value") if isinstance(key, str) else key: v for key, v in (upstream or {}).items()}
        spec = dag.to_spec(nbflow_app.compile_options())
        date = _date(logical_date, nbflow_app)
        one = task_test(nbflow_app, dag, spec, task_id, run=date, map_index=map_index, conf=conf or {}, xcoms=given)
        event = one.run().event
        error = event.error if isinstance(event, Failed) else ""
        return TaskResult(state=state_of(event), xcoms=one.pushed, error=error, rendered=one.rendered)

    return run


@pytest.fixture
def run_dag(nbflow_app: App) -> RunDag:
    """Run a DAG in this process, from its first task to its end."""

    def run(
        dag: DAG,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        mark_success_pattern: str | None = None,
    ) -> RunResult:
        from nbflow.services.dag_test import run_test

        done = run_test(
            dag,
            logical_date=_date(logical_date, nbflow_app),
            run_conf=conf,
            mark_success_pattern=mark_success_pattern,
            app=nbflow_app,
        )
        return _result(nbflow_app, done)

    return run


@pytest.fixture
def simulate(nbflow_app: App) -> Simulate:
    """Let a DAG's schedule go on for days, in no time; no code of its tasks is run. ``outcomes`` are words like
    ``"extract=fail,success"`` and ``"extract.seconds=120"`` (see ``nbflow simulate --help``)."""

    def run(
        dag: DAG,
        *outcomes: str,
        start: datetime | str,
        days: float = 7,
        until: datetime | str | None = None,
        seed: int | None = None,
    ) -> Simulation:
        from nbflow.sim.outcomes import Seeded, script_of
        from nbflow.sim.simulate import simulate

        begin = _date(start, nbflow_app)
        assert begin is not None
        return simulate(
            dag.to_spec(nbflow_app.compile_options()),
            start=begin,
            days=days,
            until=_date(until, nbflow_app),
            outcomes=Seeded(seed=seed) if seed is not None else script_of(outcomes),
        )

    return run


def _date(given: datetime | str | None, app: App) -> datetime | None:
    from nbflow.core.timetables.time_zones import as_utc
    from nbflow.services.date_parsing import parse_date

    if given is None:
        return None
    return parse_date(given, now=app.clock.now()) if isinstance(given, str) else as_utc(given)


def _result(app: App, run: Run) -> RunResult:
    from nbflow import serde

    states: dict[str, Any] = {}
    for one in app.store.instances(run.key):
        if one.map_index < 0:
            states[one.task_id] = one.state.value
        else:
            states.setdefault(one.task_id, []).append(one.state.value)
    xcoms: dict[tuple[str, str], Any] = {}
    for key, name, text in app.store.xcoms(run.key):
        if key.map_index < 0:
            xcoms[key.task_id, name] = serde.loads(text)
        else:
            xcoms.setdefault((key.task_id, name), []).append(serde.loads(text))
    errors = {str(attempt.key): attempt.error for attempt in app.store.attempts(run.key) if attempt.error}
    return RunResult(run=run, states=states, errors=errors, xcoms=xcoms)
