"""The state of a process that uses nbflow in a notebook: the open NBFLOW_HOME, and the DAGs of its cells."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nbflow.authoring.dag import DAG
from nbflow.commands.surface_syntax import Surface, invocation
from nbflow.config import Settings
from nbflow.core.snapshot import KERNEL, Run
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.errors import ConfigError, DagNotFound, NbflowError, did_you_mean
from nbflow.notebook.cells import CellDag, CellLog, notebook_path, saved_source
from nbflow.notebook.error_display import spell
from nbflow.services import schedulers
from nbflow.sources.loading import load_source
from nbflow.store.base import DagVersion
from nbflow.views import fetch

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.live.feed import Feed
    from nbflow.services.operations import Operations
    from nbflow.sources.loading import Loaded
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")


def _magic(command: str, *words: str) -> str:
    """The magic of a command."""
    return invocation(command, Surface.NOTEBOOK, *words)


def dag_id_of(dag: str | DAG) -> str:
    """The id of a DAG that is given as its id or as an object."""
    return dag.dag_id if isinstance(dag, DAG) else dag


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDag:
    """A DAG that a cell of this kernel defined, and the version that this kernel's runs use."""

    dag: DAG
    version: DagVersion
    cell: CellDag


@dataclass(eq=False)
class Session:
    """The session of one NBFLOW_HOME in a process; :func:`current_session` returns the current one."""

    home: str | None
    cells: CellLog = field(default_factory=CellLog)
    user_ns: dict[str, Any] = field(default_factory=dict)
    dags: dict[str, KernelDag] = field(default_factory=dict)
    save_output: bool | None = None
    """The value of ``%config NbflowMagics.save_output``. None: not set; the setting [notebook] save_output applies."""
    _loading: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings of the home. Loading them does not open the metastore."""
        return Settings.load(os.environ, self.home)

    @cached_property
    def app(self) -> App:
        from nbflow.app import App

        return App.open(settings=self.settings)

    def has_metastore(self) -> bool:
        """Whether the metastore is open, or can be opened without creating its file. Raises ConfigError."""
        if "app" in self.__dict__:
            return True
        url = self.settings.database.sql_alchemy_conn
        path = url.removeprefix("sqlite:///").partition("?")[0]
        return path == url or os.path.exists(path)

    @property
    def pictures(self) -> bool:
        """Whether outputs contain HTML with pictures; otherwise they are text."""
        if self.save_output is not None:
            return self.save_output
        try:
            return self.settings.notebook.save_output
        except ConfigError:  # this output shows the same error
            return True

    @cached_property
    def feed(self) -> Feed:
        """The feed of live outputs."""
        from nbflow.live.feed import Feed

        return Feed(self.app.store, self.app.clock, partial(fetch, settings=self.app.settings, spell=spell))

    @property
    def actor(self) -> str:
        """The actor of this user's commands in the history."""
        import getpass

        try:
            return f"user:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user may have no name
            return f"user:{os.getuid()}"

    @property
    def operations(self) -> Operations:
        return self.app.operations(self.actor)

    def operations_on(self, version: DagVersion) -> Operations:
        """Operations on a version. Runs of a DAG of this kernel's cells have a different actor, so that pausing the
        scheduled DAG does not block them, even if the saved file has the same version."""
        if version.dag_id not in self.dags and version.origin != "kernel":
            return self.operations
        return self.app.operations(f"{KERNEL}{self.actor.partition(':')[2]}")

    @property
    def zone(self) -> tzinfo:
        """The time zone of dates without a time zone."""
        return timezone_of(self.app.settings.core.default_timezone)

    @property
    def path(self) -> Path | None:
        """The path of the notebook, if the front end sets it."""
        return notebook_path(self.user_ns, os.environ)

    def fetch(self, query: Query[V]) -> V:
        """The current view of a query; its texts name magics. Raises NbflowError."""
        return fetch(self.app.store, query, self.app.clock.now(), self.app.settings, spell=spell)

    # --- DAGs of this kernel

    def register(self, cell: CellDag) -> list[KernelDag]:
        """Register the DAGs of a cell for this kernel's runs."""
        from nbflow.services.dag_registration import register_unscheduled

        registered = []
        for dag in cell.dags:
            version = DagVersion(
                dag_id=dag.dag_id,
                spec=cell.loaded.specs[dag.dag_id],
                fileloc=str(self.path or f"<kernel {os.getpid()}>"),
                cell=cell.source.cell.name,
                files=cell.loaded.files,
            )
            stored = register_unscheduled(self.app.store, version, self.app.clock.now())
            self.dags[dag.dag_id] = KernelDag(dag=dag, version=stored, cell=cell)
            registered.append(self.dags[dag.dag_id])
        return registered

    def version(self, dag: str | DAG) -> DagVersion:
        """The version that this kernel's runs of a DAG use: the version of its cell, otherwise the scheduled one.
        Raises DagNotFound."""
        if isinstance(dag, DAG):
            return self._version_of(dag)
        kernel_dag = self.dags.get(dag)
        if kernel_dag is not None:
            return kernel_dag.version
        version = self.app.store.version(dag)
        if version is None:
            known = {row.dag_id for row in self.app.store.dags(include_stale=True)} | self.dags.keys()
            hint = did_you_mean(dag, known).strip() or self._scheduler_hint() or f"See: {_magic('dags list')}."
            raise DagNotFound(f"There is no DAG {dag!r}.", hint=hint)
        return version

    def _scheduler_hint(self) -> str:
        """A hint to start a scheduler, if there are DAG files but no running scheduler; otherwise ""."""
        from nbflow.sources.discovery import configured_dag_files

        if schedulers.find(self.app) is not None or not configured_dag_files(self.app.settings):
            return ""
        return f"DAG files are parsed only while a scheduler runs. Start it with: {_magic('scheduler')}."

    def _version_of(self, dag: DAG) -> DagVersion:
        """The version of a DAG object. Another process can run it only if it comes from a cell or a file."""
        kernel_dag = self.dags.get(dag.dag_id)
        if kernel_dag is not None and kernel_dag.dag is dag:
            return kernel_dag.version
        from nbflow.services.dag_registration import register_unscheduled

        path = Path(dag.fileloc)
        loaded = self._load_once(path) if path.is_file() else None
        if loaded is None or dag.dag_id not in loaded.specs:
            why = f": {loaded.import_errors[0].message}" if loaded is not None and loaded.import_errors else "."
            raise NbflowError(
                f"DAG {dag.dag_id!r} exists only in this process, so the scheduler cannot run it{why}",
                hint="Run it in this process with test(), or define it in a %%dag cell or a file.",
            )
        version = DagVersion(dag_id=dag.dag_id, spec=loaded.specs[dag.dag_id], fileloc=str(path), files=loaded.files)
        return register_unscheduled(self.app.store, version, self.app.clock.now())

    def _load_once(self, path: Path) -> Loaded:
        """Load a DAG file. Raises NbflowError for a script that runs its own DAG, since loading it would recurse."""
        if self._loading:
            raise NbflowError(f"{path.name} runs its own DAG.", hint="Put that call under: if __name__ == '__main__'.")
        self._loading = True
        try:
            return load_source(path, options=self.app.compile_options())
        finally:
            self._loading = False

    def dag_object(self, dag: str | DAG) -> DAG:
        """The DAG object, to run it in this process. Raises NbflowError."""
        if isinstance(dag, DAG):
            return dag
        kernel_dag = self.dags.get(dag)
        if kernel_dag is not None:
            return kernel_dag.dag
        loaded = self.app.load_version(self.version(dag))
        if loaded.dag is None:
            raise NbflowError(f"DAG {dag!r} cannot be loaded: {loaded.error}.")
        return loaded.dag

    def find_run(self, dag: str | DAG, run: str | None = None) -> Run:
        """The run with the run id or logical date ``run``, by default the newest run. Raises DagRunNotFound."""
        dag_id = dag_id_of(dag)
        if dag_id not in self.dags:
            self.version(dag_id)
        return self.operations.find_run(dag_id, run)

    def difference_from_saved(self, dag_id: str) -> str:
        """A note on how the scheduled DAG differs from this kernel's version; "" if it does not."""
        kernel_dag = self.dags.get(dag_id)
        if kernel_dag is None or self.path is None:
            return ""
        saved = saved_source(self.path, dag_id)
        if saved is None:
            return "not saved yet: save the notebook to schedule this version"
        if saved.error is not None:
            return f"the saved notebook has an error ({saved.cell.name}, line {saved.error.line})"
        if saved.text != kernel_dag.cell.source.text:
            return "differs from the saved notebook, which is scheduled"
        if not self.path.is_relative_to(os.path.abspath(self.app.settings.core.dags_folder)):
            return f"not scheduled: the notebook is outside {self.app.settings.core.dags_folder}"
        return ""

    def close(self) -> None:
        """Close the feed and the metastore."""
        if "feed" in self.__dict__:
            self.feed.close()
            del self.__dict__["feed"]
        if "app" in self.__dict__:
            self.app.close()
            del self.__dict__["app"]


_current: list[Session] = []


def current_session() -> Session:
    """The session of the current NBFLOW_HOME."""
    home = os.environ.get("NBFLOW_HOME")
    if not _current or _current[0].home != home:
        previous = _current[0] if _current else None
        new = Session(home)
        if previous is not None:
            new.cells, new.user_ns, new.save_output = previous.cells, previous.user_ns, previous.save_output
            previous.close()
        _current[:] = [new]
    return _current[0]


def end_session() -> None:
    """Close the current session; the next call of :func:`current_session` creates a new one."""
    while _current:
        _current.pop().close()
