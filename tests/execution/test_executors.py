"""The rules at the head of executors/base.py, for every executor, with a real DAG file."""

from __future__ import annotations

import dataclasses
import inspect
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.authoring.workload import Runtime, Workload
from nbflow.core.attempt_events import Event, Failed, KilledToRestart, SkippedItself, Started, Succeeded
from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.core.states import Cause
from nbflow.errors import ConnectionNotFound, DagNotFound
from nbflow.execution.environment_allowlist import minimal_environment
from nbflow.execution.executors.base import Executor, Report, Submission
from nbflow.execution.executors.local import LocalExecutor
from nbflow.execution.executors.sequential import SequentialExecutor
from nbflow.execution.fork_server_pool import ProcessPoolOptions
from nbflow.execution.logs import LogFolder
from nbflow.execution.supervisor import SupervisorOptions
from nbflow.execution.task_api import REQUESTS, RequestRefused, TaskApi
from nbflow.execution.task_client import TaskClient, error_from_json, error_to_json
from nbflow.secrets_backends import EnvironmentBackend, SecretsChain
from nbflow.sources.loading import Loaded, load_source
from nbflow.sources.version_loading import LoadingOptions
from nbflow.store.base import DagVersion
from tests.execution.support import NOW, RecordingStore

SOURCE = """
import os
from datetime import timedelta
from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task
from nbflow.errors import AirflowFailException, AirflowSkipException

with DAG("sales", default_args={"retries": 1}) as dag:
    @task
    def works():
        print("printed")
        return {"rows": [1, 2]}
    @task
    def raises():
        return 1 / 0
    @task
    def skips():
        raise AirflowSkipException("nothing to do")
    @task
    def fails_hard():
        raise AirflowFailException("no use")
    @task(execution_timeout=timedelta(seconds=0.1))
    def too_slow():
        import signal
        while True:
            signal.pause()
    @task
    def exits():
        raise SystemExit(3)
    works(); raises(); skips(); fails_hard(); too_slow(); exits()
"""


class Harness:
    """A DAG file, a store, and an executor of the kind under test."""

    def __init__(self, folder: Path, kind: str, source: str = SOURCE, **options: Any) -> None:
        self.store = RecordingStore()
        self.loaded = self.load(folder, source)
        self.options = options
        self.spec = self.loaded.specs["sales"]
        self.task_api = TaskApi(store=self.store, secrets=SecretsChain([EnvironmentBackend({})]))  # type: ignore[arg-type]
        self.logs = LogFolder(folder / "logs")
        self.executor: Executor = self.local(folder) if kind == "local" else self.sequential()
        self.reports: list[Report] = []

    @staticmethod
    def load(folder: Path, source: str = SOURCE) -> Loaded:
        (folder / "sales.py").write_text(textwrap.dedent(source))
        return load_source(folder / "sales.py", folder=folder)

    def sequential(self) -> SequentialExecutor:
        return SequentialExecutor(self.task_api, dag_of=lambda dag_id, version: self.loaded.dags[0])

    def local(self, folder: Path) -> LocalExecutor:
        process_pool = ProcessPoolOptions(environment=minimal_environment(os.environ))
        loading = LoadingOptions(dags_folder=str(folder))
        options = SupervisorOptions(
            owner="tester", logs=self.logs, process_pool=process_pool, loading=loading, **self.options
        )
        return LocalExecutor(options, self.task_api, versions=self.version, parallelism=2)

    def version(self, dag_id: str, number: int) -> DagVersion:
        return DagVersion(dag_id="sales", number=1, spec=self.spec, fileloc=self.loaded.path, files=self.loaded.files)

    def submit(self, task_id: str) -> str:
        run = Run(dag_id="sales", run_id="r", run_after=NOW, logical_date=NOW, version=1)
        workload = Workload(attempt_id=f"of {task_id}", run=run, task_id=task_id, version=1, max_tries=1)
        self.executor.submit([Submission(workload=workload, task=self.spec.tasks[task_id])])
        return workload.attempt_id

    def run(self, task_id: str) -> list[Event]:
        """All events of a try of this task, up to its end."""
        attempt_id = self.submit(task_id)
        while attempt_id in self.executor.live:
            self.reports += self.executor.poll(1.0)
        self.reports += self.executor.poll(0.0)
        return [report.event for report in self.reports if report.attempt_id == attempt_id]


@pytest.fixture(params=["sequential", "local"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness = Harness(tmp_path, request.param)
    harness.executor.start()
    yield harness
    harness.executor.stop()


def end_of(harness: Harness, task_id: str) -> Any:
    started, end = harness.run(task_id)
    assert isinstance(started, Started)
    return end


def test_a_successful_try_is_started_and_succeeds_and_its_result_is_stored(harness: Harness) -> None:
    assert isinstance(end_of(harness, "works"), Succeeded)
    assert harness.store.xcoms == {("of works", "return_value"): '{"rows": [1, 2]}'}
    assert {report.run for report in harness.reports} == {RunKey("sales", "r")}
    assert {report.key for report in harness.reports} == {TaskKey("works")}


@pytest.mark.parametrize(
    ("task_id", "cause", "error_text", "retry"),
    [
        ("raises", Cause.RAISED, "ZeroDivisionError: division by zero", True),
        ("fails_hard", Cause.FAILED_HARD, "AirflowFailException: no use", False),
        ("exits", Cause.RAISED, "SystemExit: 3", True),
    ],
)
def test_a_failed_try_is_reported_with_its_error(
    harness: Harness, task_id: str, cause: Cause, error_text: str, retry: bool
) -> None:
    end = end_of(harness, task_id)
    assert (type(end), end.cause, end.error, end.retry) == (Failed, cause, error_text, retry)


def test_a_try_that_skips_itself_is_reported_skipped(harness: Harness) -> None:
    end = end_of(harness, "skips")
    assert (type(end), end.message) == (SkippedItself, "nothing to do")


def test_a_try_that_exceeds_its_time_limit_fails(harness: Harness) -> None:
    end = end_of(harness, "too_slow")
    assert (type(end), end.cause) == (Failed, Cause.EXECUTION_TIMEOUT)
    assert "too_slow ran longer than its execution_timeout of 0:00:00.1" in end.error


def test_a_start_is_reported_while_the_try_runs(tmp_path: Path) -> None:
    # Given a long try in its own process
    harness = Harness(tmp_path, "local")
    harness.executor.start()
    attempt_id = harness.submit("too_slow")

    # When the executor waits for a report
    reports = harness.executor.poll(None)

    # Then it is that of the start, and the try is still live
    assert [(type(report.event), report.attempt_id) for report in reports] == [(Started, attempt_id)]
    assert harness.executor.live == [attempt_id]
    harness.executor.stop()


def test_a_try_that_another_supervisor_has_claimed_is_dropped(harness: Harness) -> None:
    harness.store.claims["of works"] = "another supervisor"
    assert harness.run("works") == []


@pytest.mark.parametrize(("restart", "kind"), [(False, Failed), (True, KilledToRestart)])
def test_a_try_that_is_cancelled_has_one_end(harness: Harness, restart: bool, kind: type) -> None:
    attempt_id = harness.submit("too_slow")
    assert harness.executor.cancel(attempt_id, reason="ada stopped it", restart=restart)
    reports: list[Report] = []
    while attempt_id in harness.executor.live:
        reports += harness.executor.poll(1.0)
    reports += harness.executor.poll(0.0)
    assert [type(report.event) for report in reports if not isinstance(report.event, Started)] == [kind]


def test_cancelling_an_unknown_attempt_is_refused(harness: Harness) -> None:
    assert not harness.executor.cancel("unknown", reason="x")


def test_slots_are_occupied_and_released(harness: Harness) -> None:
    free = harness.executor.slots_free
    harness.submit("works")
    assert (harness.executor.slots_free, list(harness.executor.live)) == (free - 1, ["of works"])
    while harness.executor.live:
        harness.executor.poll(1.0)
    assert harness.executor.slots_free == free


def test_the_sequential_executor_runs_in_the_calling_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = Harness(tmp_path, "sequential")
    harness.run("works")
    assert "printed\n" in capsys.readouterr().out


def test_an_announced_start_is_reported_before_the_code_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given an executor that announces starts, and two tries
    harness = Harness(tmp_path, "sequential")
    harness.executor = SequentialExecutor(
        harness.task_api, dag_of=lambda dag_id, version: harness.loaded.dags[0], announce=True, monotonic=lambda: 0.0
    )
    harness.submit("works")
    harness.submit("skips")

    def kinds() -> list[tuple[str, str]]:
        return [(report.key.task_id, type(report.event).__name__) for report in harness.executor.poll(0.0)]

    # Then it reports the start of the first, whose code has not run yet
    assert (kinds(), capsys.readouterr().out) == ([("works", "Started")], "")
    # And its end comes with the next one's start, each of them once
    assert kinds() == [("works", "Succeeded"), ("skips", "Started")]
    assert kinds() == [("skips", "SkippedItself")]
    assert (kinds(), list(harness.executor.live)) == ([], [])


def test_the_log_of_a_local_try_holds_what_it_printed(tmp_path: Path) -> None:
    harness = Harness(tmp_path, "local")
    harness.executor.start()
    try:
        harness.run("works")
    finally:
        harness.executor.stop()
    assert "printed\n" in harness.logs.path(RunKey("sales", "r"), TaskKey("works"), 1).read_text()


# -------------------------------------------------------------------------------------------------------- the task API


def test_every_method_of_the_runtime_has_a_handler_in_the_task_api() -> None:
    methods = {name for name, _ in inspect.getmembers(Runtime, inspect.isfunction) if not name.startswith("_")} - {
        "now"
    }
    assert methods == REQUESTS
    assert {name for name in methods if hasattr(TaskClient, name)} == REQUESTS


def test_a_file_that_is_being_loaded_may_read_and_not_write() -> None:
    task_api = TaskApi(store=RecordingStore(), secrets=SecretsChain([EnvironmentBackend({"NBFLOW_VAR_X": "1"})]))  # type: ignore[arg-type]
    assert task_api.handle_parse_request("get_variable", {"key": "x"}) == "1"
    for kind in REQUESTS - {"get_variable", "get_connection"}:
        with pytest.raises(RequestRefused):
            task_api.handle_parse_request(kind, {})


@pytest.mark.parametrize(
    "args", [{}, {"key": "k"}, {"key": "k", "value": "1", "attempt_id": "other"}, {"key": "k", "value": 3}]
)
def test_arguments_that_do_not_fit_are_refused(args: dict[str, Any]) -> None:
    task_api = TaskApi(store=RecordingStore(), secrets=SecretsChain([]))  # type: ignore[arg-type]
    workload = Workload(attempt_id="a", run=Run(dag_id="d", run_id="r", run_after=NOW), task_id="t")
    with pytest.raises(RequestRefused):
        task_api.handle(workload, "xcom_push", args)


def test_an_xcom_that_is_too_large_is_refused_on_both_sides() -> None:
    store = RecordingStore()
    task_api = dataclasses.replace(
        TaskApi(store=store, secrets=SecretsChain([])),  # type: ignore[arg-type]
        max_xcom_bytes=100,
    )
    workload = Workload(attempt_id="a", run=Run(dag_id="d", run_id="r", run_after=NOW), task_id="t")
    with pytest.raises(RequestRefused, match="more than the 100 allowed"):
        task_api.handle(workload, "xcom_push", {"key": "k", "value": '"' + "x" * 200 + '"'})
    with pytest.raises(Exception, match="more than the 100 allowed"):
        task_api.runtime(workload).xcom_push("k", "x" * 200)
    assert store.xcoms == {}


@pytest.mark.parametrize("error", [DagNotFound("no DAG 'x'", hint="Look again."), ConnectionNotFound("none")])
def test_an_error_of_the_task_api_is_the_same_error_in_the_child(error: Exception) -> None:
    back = error_from_json(error_to_json(error))
    assert (type(back), str(back)) == (type(error), str(error))


def test_an_error_of_another_class_becomes_an_nbflow_error_with_its_text() -> None:
    assert str(error_from_json(error_to_json(ConnectionError("gone")))) == "ConnectionError: gone"
    assert str(error_from_json({"type": "dataclass", "message": "m"})) == "m"
