"""Read the DAG, run or task that a query names, or raise an error that names what does not exist."""

from __future__ import annotations

from collections.abc import Iterable

from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.errors import DagNotFound, DagRunNotFound, TaskNotFound
from nbflow.store.base import DagRow, DagVersion, Store
from nbflow.suggested_commands import SEE_DAGS, suggest


def version_of(store: Store, dag_id: str, number: int | None = None) -> DagVersion:
    """A version of a DAG, by default the one that the schedule follows. Raises DagNotFound."""
    version = store.version(dag_id, number)
    if version is None:
        what = f"DAG {dag_id!r}" if number is None else f"version {number} of DAG {dag_id!r}"
        raise DagNotFound(f"There is no {what}.", hint=f"See: {SEE_DAGS[0]}.", suggestions=SEE_DAGS)
    return version


def row_of(store: Store, dag_id: str) -> DagRow:
    """The row of a DAG, scheduled or not. Raises DagNotFound."""
    row = store.dag(dag_id) or next(iter(store.unscheduled_dags([dag_id])), None)
    if row is None:
        raise DagNotFound(f"There is no DAG {dag_id!r}.", hint=f"See: {SEE_DAGS[0]}.", suggestions=SEE_DAGS)
    return row


def run_of(store: Store, dag_id: str, run_id: str) -> Run:
    """A run. Raises DagRunNotFound."""
    run = store.run(RunKey(dag_id, run_id))
    if run is None:
        see = suggest("dags list-runs", dag_id)
        raise DagRunNotFound(f"DAG {dag_id!r} has no run {run_id!r}.", hint=f"See: {see}.", suggestions=(see,))
    return run


def task_key(text: str) -> TaskKey:
    """``load``, or ``load[1]`` for one instance of a mapped task."""
    name, _, rest = text.partition("[")
    index = rest.removesuffix("]")
    return TaskKey(name, int(index) if index.isdigit() else -1)


def check_task(dag_id: str, task: str, known: Iterable[str]) -> None:
    """Raises TaskNotFound, which suggests the nearest name, if ``known`` does not contain the task's id."""
    name, names = task_key(task).task_id, list(known)
    if name not in names:
        raise TaskNotFound.among(dag_id, task, names)
