"""What a command may use: the metastore's operations, the surface that asks, and where that surface finds DAGs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Protocol

from nbflow.arguments import UsageError
from nbflow.commands.way_out import Surface, spelled
from nbflow.errors import DagRunNotFound
from nbflow.way_out import Way

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.services.operations import Operations
    from nbflow.store.base import DagRow, DagVersion, Store


class Dags(Protocol):
    """Where a surface finds DAGs. A terminal may read a file of the DAGs folder that no scheduler has read yet; a
    kernel has DAGs of its own cells."""

    def version(self, dag_id: str) -> DagVersion:
        """The version to act on. Raises DagNotFound."""

    def scheduled(self, dag_id: str) -> DagRow:
        """The DAG as the schedule follows it. Raises NbflowError for one that nothing schedules."""

    def operations_on(self, version: DagVersion) -> Operations:
        """Operations on a version: runs of a kernel's own cells are told apart, since a pause of the schedule is none
        of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One call of a command."""

    app: App
    actor: str
    dags: Dags
    surface: Surface
    zone: tzinfo
    """Of dates that name none."""

    @property
    def operations(self) -> Operations:
        return self.app.operations(self.actor)

    @property
    def store(self) -> Store:
        return self.app.store

    @property
    def settings(self) -> Settings:
        return self.app.settings

    def now(self) -> datetime:
        return self.app.clock.now()

    def spell(self, way: Way) -> str:
        """A way out in the words of the surface."""
        return spelled(way, self.surface)

    def date(self, when: str | datetime | None) -> datetime | None:
        """A date as typed, or as a program gives it, as aware UTC. Raises UsageError."""
        from nbflow.core.timetables.time_zones import as_utc
        from nbflow.services.date_parsing import parse_date

        if when is None or isinstance(when, datetime):
            return None if when is None else as_utc(when, self.zone)
        try:
            return parse_date(when, zone=self.zone, now=self.now())
        except ValueError as error:
            raise UsageError(str(error)) from None

    def task_or_run(self, dag_id: str, task: str | None, run: str | None) -> tuple[str | None, str | None]:
        """The task and the run of ``DAG [TASK] [RUN]``: a word in the task's place that names no task but a run is the
        run."""
        if task is None or run is not None or task.partition("[")[0] in self.dags.version(dag_id).spec.tasks:
            return task, run
        try:
            return None, self.operations.find_run(dag_id, task).run_id
        except DagRunNotFound:
            return task, None
