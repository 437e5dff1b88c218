"""What a query names, read from the store; an error says what does not exist."""

from __future__ import annotations

from nbflow.core.snapshot import Run, RunKey
from nbflow.errors import DagNotFound, DagRunNotFound
from nbflow.store.base import DagRow, DagVersion, Store


def version_of(store: Store, dag_id: str, number: int | None = None) -> DagVersion:
    """A version of a DAG, by default the one that the schedule follows. Raises DagNotFound."""
    found = store.version(dag_id, number)
    if found is None:
        what = f"DAG {dag_id!r}" if number is None else f"version {number} of DAG {dag_id!r}"
        raise DagNotFound(f"There is no {what}.", hint="See: nbflow dags list.")
    return found


def row_of(store: Store, dag_id: str) -> DagRow:
    """The row of a DAG, whether a schedule follows it or not. Raises DagNotFound."""
    found = store.dag(dag_id) or next(iter(store.unscheduled_dags([dag_id])), None)
    if found is None:
        raise DagNotFound(f"There is no DAG {dag_id!r}.", hint="See: nbflow dags list.")
    return found


def run_of(store: Store, dag_id: str, run_id: str) -> Run:
    """A run. Raises DagRunNotFound."""
    found = store.run(RunKey(dag_id, run_id))
    if found is None:
        raise DagRunNotFound(f"DAG {dag_id!r} has no run {run_id!r}.", hint=f"See: nbflow dags list-runs {dag_id}.")
    return found
