"""What the processes below the supervisor do with user code: load a version of a DAG, run a try of a task."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.authoring.runtime import Outcome, Work
from nbflow.execution.fork_server import Program
from nbflow.execution.task_client import TaskClient

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDag:
    """The DAG that a template was made for, out of its file."""

    dag: DAG | None
    fault: str = ""
    detail: str = ""
    output: str = ""
    spec: DagSpec | None = None
    """Only if it differs from the stored one."""

    def report(self) -> dict[str, Any]:
        spec = None if self.spec is None else self.spec.to_dict()
        return {"fault": self.fault, "detail": self.detail, "output": self.output, "spec": spec}


def load(source: Mapping[str, Any]) -> OneDag:
    """Load a version; see ``Supervisor._source`` for what ``source`` holds."""
    from nbflow.authoring.compile import CompileOptions
    from nbflow.execution.task_log_format import setup_logging
    from nbflow.execution.task_runner import feeds_mapping, warm_up
    from nbflow.sources.loading import load_source

    dag_id = str(source["dag_id"])
    loaded = load_source(
        source["fileloc"],
        source["files"] or None,
        folder=source.get("dags_folder"),
        versions_folder=source.get("versions_folder"),
        options=CompileOptions(**source.get("compile_options") or {}),
        keep=True,
    )
    dag = next((one for one in loaded.dags if one.dag_id == dag_id), None)
    if dag is None:
        return _missing(dag_id, [one for one in loaded.faults if one.dag_id in (None, dag_id)], loaded.output)
    spec = loaded.specs[dag_id]
    warm_up(dag)
    feeds_mapping(dag, "")  # looks at all tasks of the DAG, once: here for all children
    setup_logging(level=str(source.get("logging_level", "INFO")))
    return OneDag(dag=dag, output=loaded.output, spec=None if spec.digest == source.get("digest") else spec)


def _missing(dag_id: str, faults: list[Any], output: str) -> OneDag:
    if not faults:
        return OneDag(dag=None, fault=f"the source no longer defines the DAG {dag_id!r}", output=output)
    fault = faults[0]
    where = ", ".join(filter(None, [fault.cell, f"line {fault.line}" if fault.line else ""]))
    return OneDag(dag=None, fault=f"{fault.error}{where and f' ({where})'}", detail=fault.detail, output=output)


def run(dag: Any, work: Work, runtime: TaskClient, limits: Mapping[str, Any]) -> Outcome:
    from nbflow.execution.task_runner import Limits, run_try

    task = dag.get_task(work.task_id)
    return run_try(dag, task, work, runtime, own_process=True, masker=runtime.masker, limits=Limits(**limits))


def own_program() -> Program:
    """nbflow's own. What a try needs in any case is imported here, once for all children."""

    rehearse = _rehearsal()
    rehearse()
    return Program(load=load, run=run, rehearse=rehearse)


def _rehearsal() -> Callable[[], None]:
    """A try of nothing: whatever running one imports or works out at first use is there before anybody forks."""
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.decorators import task
    from nbflow.core.snapshot import Run
    from nbflow.execution import protocol
    from nbflow.execution.task_client import utc_now
    from nbflow.secrets import Masker

    with DAG("rehearsal", auto_register=False) as dag:
        task(lambda: None, task_id="nothing")()
    now = utc_now()
    made = Run(dag_id=dag.dag_id, run_id="r", run_after=now, logical_date=now)
    packed = protocol.pack_work(Work(attempt_id="rehearsal", run=made, task_id="nothing"))

    def rehearse() -> None:
        runtime = TaskClient(lambda kind, args: None, masker=Masker())
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            outcome = run(dag, protocol.unpack_work(packed), runtime, {})
        protocol.pack_outcome(outcome)

    return rehearse
