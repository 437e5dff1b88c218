"""The context of a command: the metastore, the surface that calls the command, and the surface's DAGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Protocol

from nbflow.command_arguments import UsageError
from nbflow.commands.surface_syntax import Surface, spelled
from nbflow.core.timetables.time_zones import as_utc
from nbflow.errors import DagRunNotFound, TaskNotFound, UnreadableRow
from nbflow.suggested_commands import SuggestedCommand

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.services.operations import Operations
    from nbflow.store.base import DagRow, DagVersion, Store

NEAREST_RUNS = 100
"""Number of the newest runs that are searched for the run id nearest to an unknown one."""


class Dags(Protocol):
    """The DAGs of a surface. A terminal also reads a file in the DAGs folder that no scheduler has parsed yet; a kernel
    also has the DAGs of its cells."""

    def version(self, dag_id: str) -> DagVersion:
        """The version of the DAG that a command uses. Raises DagNotFound."""

    def scheduled(self, dag_id: str) -> DagRow:
        """The scheduled DAG. Raises NbflowError for a DAG that is registered, but not scheduled."""

    def operations_on(self, version: DagVersion) -> Operations:
        """Operations on a version. A kernel has a different actor for runs of its cells, so that a pause of the
        scheduled DAG does not block them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The context of one command call."""

    app: App
    actor: str
    dags: Dags
    surface: Surface
    zone: tzinfo
    """Time zone of dates without a time zone."""

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

    def spell(self, suggested: SuggestedCommand) -> str:
        """A suggested command in the surface's syntax."""
        return spelled(suggested, self.surface)

    def date(self, value: str | datetime | None) -> datetime | None:
        """Parse a date, or convert a datetime, to aware UTC. Raises UsageError."""
        from nbflow.services.date_parsing import parse_date

        if value is None or isinstance(value, datetime):
            return None if value is None else as_utc(value, self.zone)
        try:
            return parse_date(value, zone=self.zone, now=self.now())
        except ValueError as error:
            raise UsageError(str(error)) from None

    def task_or_run(self, dag_id: str, task: str | None, run: str | None) -> tuple[str | None, str | None]:
        """The task and the run of the arguments ``DAG [TASK] [RUN]``. If ``task`` is the id or date of a run instead of
        a task id, it is the run. Raises TaskNotFound if it is neither."""
        if task is None or run is not None:
            return task, run
        try:
            tasks = list(self.dags.version(dag_id).spec.tasks)
        except UnreadableRow:  # `why` shows the error of the run
            tasks = self._other_tasks_of_newest_run(dag_id, ())
        if task.partition("[")[0] in tasks:
            return task, run
        try:
            return None, self.operations.find_run(dag_id, task).run_id
        except DagRunNotFound:
            tasks += self._other_tasks_of_newest_run(dag_id, tasks)
            if task.partition("[")[0] in tasks:
                return task, None
            run_ids = [newest.run_id for newest in self.store.runs(dag_id, limit=NEAREST_RUNS)]
            raise TaskNotFound.or_run(dag_id, task, tasks, run_ids) from None

    def _other_tasks_of_newest_run(self, dag_id: str, tasks: Sequence[str]) -> list[str]:
        """The tasks of the newest run that are not in ``tasks``: an older version of the DAG had them."""
        newest = self.store.newest_runs([dag_id]).get(dag_id)
        tis = self.store.instances(newest.key) if newest is not None else []
        return sorted({ti.task_id for ti in tis} - set(tasks))
