"""How the processes below the supervisor load a DAG version and run a try of one of its tasks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task
from nbflow.authoring.workload import Outcome, Workload
from nbflow.core.snapshot import Run
from nbflow.execution import fork_server, protocol
from nbflow.execution.fork_server import UserCode
from nbflow.execution.task_client import TaskClient, utc_now
from nbflow.execution.task_logging import setup_logging
from nbflow.execution.task_runner import Limits, feeds_mapping, preload_modules, run_try
from nbflow.secrets_masker import Masker

if TYPE_CHECKING:
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDag:
    """The DAG of a DAG fork server, or the error that prevented loading it (:class:`LoadResult`)."""

    dag: DAG | None
    error: str = ""
    detail: str = ""
    output: str = ""
    spec: DagSpec | None = None
    """None if it equals the stored one."""

    def report(self) -> dict[str, Any]:
        spec = None if self.spec is None else self.spec.to_dict()
        return {"error": self.error, "detail": self.detail, "output": self.output, "spec": spec}


def load(source: Mapping[str, Any]) -> LoadedDag:
    """Load a DAG version. ``Supervisor._source`` creates ``source``."""
    from nbflow.sources.version_loading import VersionSource, load_version

    version = load_version(VersionSource.from_json(source["version"]), keep_imports=True)
    dag, loaded = version.dag, version.loaded
    if dag is None:
        return LoadedDag(dag=None, error=version.error, detail=version.detail, output=loaded.output)
    spec = loaded.specs[dag.dag_id]
    preload_modules(dag)
    feeds_mapping(dag, "")  # fills its cache before the fork, for all children
    setup_logging(level=str(source["logging_level"]))
    return LoadedDag(dag=dag, output=loaded.output, spec=None if spec.digest == source["digest"] else spec)


def run(dag: Any, workload: Workload, runtime: TaskClient, limits: Mapping[str, Any]) -> Outcome:
    """Run one try of a task. ``limits``: fields of :class:`nbflow.execution.task_runner.Limits`."""
    task = dag.get_task(workload.task_id)
    return run_try(dag, task, workload, runtime, own_process=True, limits=Limits(**limits), progress=runtime.progress)


def main() -> NoReturn:
    """Entry point of the base fork server that runs nbflow's DAGs."""
    fork_server.main(nbflow_user_code())


def nbflow_user_code() -> UserCode:
    """The user code functions of nbflow's fork servers. Runs a warm-up here, so that all children share its imports."""
    warm_up = _make_warm_up()
    warm_up()
    return UserCode(load=load, run=run, warm_up=warm_up)


def _make_warm_up() -> Callable[[], None]:
    """Return a function that runs an empty try, so that modules and caches of every try are loaded before the fork."""
    with DAG("warm-up", auto_register=False) as dag:
        task(lambda: None, task_id="nothing")()
    now = utc_now()
    dag_run = Run(dag_id=dag.dag_id, run_id="r", run_after=now, logical_date=now)
    packed = protocol.pack_workload(Workload(attempt_id="warm-up", run=dag_run, task_id="nothing"))

    def warm_up() -> None:
        runtime = TaskClient(lambda kind, args: None, masker=Masker())
        with open(os.devnull, "w") as devnull, contextlib.redirect_stdout(devnull):
            outcome = run(dag, protocol.unpack_workload(packed), runtime, {})
        protocol.pack_outcome(outcome)

    return warm_up
