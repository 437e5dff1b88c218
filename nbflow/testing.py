"""A pytest plugin for testing DAGs; ``pip install nbflow`` installs these fixtures.

==============  =======================================================================================================
``dagbag``      the DAGs of the DAGs folder: ``dagbag["sales"]``, ``dagbag.dags``, ``dagbag.import_errors``
``run_task``    a try of a single task, without its upstream tasks: ``run_task(dag, "extract").value``
``run_dag``     a whole run in this process: ``run_dag(dag).states == {"extract": "success", ...}``
``simulate``    days of scheduling on a virtual clock: ``simulate(dag, start="2024-01-01").runs``
``nbflow_app``  the App that they use, with a metastore in memory and a temporary home
==============  =======================================================================================================

Each test starts with an empty metastore and home; the user's home is neither read nor written. Variables and
connections come from the environment (``monkeypatch.setenv("NBFLOW_VAR_REGION", "eu")``) or ``nbflow_app.store``.

The DAGs folder is ``--dags-folder``, else ``nbflow_dags_folder`` in the pytest configuration, else ``dags`` in the root
folder.
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
    """Pytest hook: adds the options of this plugin."""
    help_text = "Folder of the DAG files that the dagbag fixture loads."
    parser.getgroup("nbflow").addoption("--dags-folder", metavar="FOLDER", help=help_text)
    parser.addini("nbflow_dags_folder", help_text, default="dags")


# -------------------------------------------------------------------------------------------------------------- DAG bag


@dataclass(frozen=True, kw_only=True)
class DagBag:
    """The DAGs and import errors of a folder of DAG files."""

    folder: Path
    dags: Mapping[str, DAG]
    import_errors: Mapping[str, str]
    """Path relative to the folder -> "line 12: message", one line for each error."""
    warnings: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, dag_id: str) -> DAG:
        from nbflow.errors import DagNotFound, did_you_mean

        if dag_id not in self.dags:
            errors = f"Import errors: {dict(self.import_errors)}." if self.import_errors else ""
            raise DagNotFound(f"{self.folder} defines no DAG {dag_id!r}.{did_you_mean(dag_id, self.dags)}", hint=errors)
        return self.dags[dag_id]

    def __contains__(self, dag_id: object) -> bool:
        return dag_id in self.dags

    def __iter__(self) -> Iterator[str]:
        return iter(self.dags)

    def __len__(self) -> int:
        return len(self.dags)

    def get_dag(self, dag_id: str) -> DAG | None:
        """Return a DAG, or None, like Airflow's DagBag."""
        return self.dags.get(dag_id)

    def size(self) -> int:
        """The number of DAGs, like Airflow's DagBag."""
        return len(self.dags)


def load_dags(folder: Path, app: App) -> DagBag:
    """Load every file of ``folder`` that may define DAGs; errors become ``import_errors``."""
    from nbflow.sources.discovery import find_dag_files, is_dag_file
    from nbflow.sources.loading import load_source

    dags: dict[str, DAG] = {}
    errors: dict[str, str] = {}
    warnings: dict[str, str] = {}
    for path in find_dag_files(folder, app.settings.core.dag_ignore_file_syntax):
        if not is_dag_file(path):
            continue
        name = str(Path(path).relative_to(folder))
        with app.providing_secrets():
            loaded = load_source(path, folder=folder, options=app.compile_options(), keep_imports=True)
        lines = [
            f"line {error.line}: {error.message}" if error.line else error.message for error in loaded.import_errors
        ]
        for dag in loaded.dags:
            if dag.dag_id in dags:
                lines.append(f"dag_id {dag.dag_id!r} is already defined in {dags[dag.dag_id].fileloc}")
            else:
                dags[dag.dag_id] = dag
        if lines:
            errors[name] = "\n".join(lines)
        if loaded.warnings:
            warnings[name] = "\n".join(loaded.warnings)
    return DagBag(folder=folder, dags=dags, import_errors=errors, warnings=warnings)


# -------------------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The result of a try."""

    state: str
    """success, failed, skipped, up_for_reschedule or deferred."""
    xcoms: Mapping[str, Any]
    error: str = ""
    rendered: Mapping[str, Any] = field(default_factory=dict)
    """The rendered template fields, without those that have no template."""

    @property
    def value(self) -> Any:
        """The task's return value."""
        return self.xcoms.get("return_value")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run."""

    run: Run
    states: Mapping[str, Any]
    """Task id -> state; for a mapped task a list of the states of its instances."""
    errors: Mapping[str, str]
    """Task (``task_id`` or ``task_id[3]``) -> error of its last try."""
    xcoms: Mapping[tuple[str, str], Any]
    """(task id, key) -> value; for a mapped task a list of the values of its instances."""

    @property
    def state(self) -> str:
        return self.run.state.value

    def value(self, task_id: str) -> Any:
        """The return value of a task; None if it has none."""
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


# ------------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture
def nbflow_app(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An App with an empty metastore in memory and a temporary home."""
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
        raise pytest.UsageError(f"The DAGs folder {folder} does not exist; set --dags-folder, or nbflow_dags_folder.")
    return load_dags(folder, nbflow_app)


@pytest.fixture
def run_task(nbflow_app: App) -> RunTask:
    """Run a try of a task, without its upstream tasks and without storing anything. ``upstream`` has the results of the
    upstream tasks: task id -> value (for a mapped task a list of values), or (task id, key) -> value."""

    def run(
        dag: DAG,
        task_id: str,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        upstream: Mapping[str, Any] | None = None,
        map_index: int = -1,
    ) -> TaskResult:
        from nbflow.core.attempt_events import Failed
        from nbflow.services.task_test import state_of, task_test

        xcoms = {(key, "return_value") if isinstance(key, str) else key: v for key, v in (upstream or {}).items()}
        spec = dag.to_spec(nbflow_app.compile_options())
        date = _date(logical_date, nbflow_app)
        test = task_test(nbflow_app, dag, spec, task_id, run=date, map_index=map_index, conf=conf or {}, xcoms=xcoms)
        event = test.run().event
        error = event.error if isinstance(event, Failed) else ""
        return TaskResult(state=state_of(event), xcoms=test.pushed, error=error, rendered=test.rendered)

    return run


@pytest.fixture
def run_dag(nbflow_app: App) -> RunDag:
    """Run a DAG in this process until the run has ended."""

    def run(
        dag: DAG,
        *,
        logical_date: datetime | str | None = None,
        conf: Mapping[str, Any] | None = None,
        mark_success_pattern: str | None = None,
    ) -> RunResult:
        from nbflow.services.dag_test import run_test

        finished = run_test(
            dag,
            logical_date=_date(logical_date, nbflow_app),
            run_conf=conf,
            mark_success_pattern=mark_success_pattern,
            app=nbflow_app,
        )
        return _result(nbflow_app, finished)

    return run


@pytest.fixture
def simulate(nbflow_app: App) -> Simulate:
    """Simulate days of a DAG's schedule on a virtual clock, without running the code of its tasks. ``outcomes``: text
    such as ``"extract=fail,success"`` and ``"extract.seconds=120"`` (see ``nbflow simulate --help``)."""

    def run(
        dag: DAG,
        *outcomes: str,
        start: datetime | str,
        days: float = 7,
        until: datetime | str | None = None,
        seed: int | None = None,
    ) -> Simulation:
        from nbflow.sim.outcomes import RandomOutcomes, parse_script
        from nbflow.sim.simulate import simulate

        begin = _date(start, nbflow_app)
        assert begin is not None
        return simulate(
            dag.to_spec(nbflow_app.compile_options()),
            start=begin,
            days=days,
            until=_date(until, nbflow_app),
            outcomes=RandomOutcomes(seed=seed) if seed is not None else parse_script(outcomes),
        )

    return run


def _date(value: datetime | str | None, app: App) -> datetime | None:
    from nbflow.core.timetables.time_zones import as_utc
    from nbflow.services.date_parsing import parse_date

    if value is None:
        return None
    return parse_date(value, now=app.clock.now()) if isinstance(value, str) else as_utc(value)


def _result(app: App, run: Run) -> RunResult:
    from nbflow import serde

    states: dict[str, Any] = {}
    for ti in app.store.instances(run.key):
        if ti.map_index < 0:
            states[ti.task_id] = ti.state.value
        else:
            states.setdefault(ti.task_id, []).append(ti.state.value)
    xcoms: dict[tuple[str, str], Any] = {}
    for key, name, text in app.store.xcoms(run.key):
        if key.map_index < 0:
            xcoms[key.task_id, name] = serde.loads(text)
        else:
            xcoms.setdefault((key.task_id, name), []).append(serde.loads(text))
    errors = {str(attempt.key): attempt.error for attempt in app.store.attempts(run.key) if attempt.error}
    return RunResult(run=run, states=states, errors=errors, xcoms=xcoms)
