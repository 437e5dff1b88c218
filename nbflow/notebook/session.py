"""What one process knows while it uses nbflow from a notebook: the open home, and the DAGs that its cells made."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nbflow.authoring.dag import DAG
from nbflow.commands.way_out import Surface, invocation
from nbflow.core.snapshot import KERNEL, Run, RunKey
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.errors import ConfigError, DagNotFound, NbflowError, did_you_mean
from nbflow.notebook.cells import CellDag, CellLog, notebook_path, saved_source

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.live.feed import Feed
    from nbflow.services.operations import Operations
    from nbflow.sources.loading import Loaded
    from nbflow.store.base import DagVersion
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")


def _typed(command: str, *words: str) -> str:
    """A command as one types it in a notebook."""
    return invocation(command, Surface.NOTEBOOK, *words)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDag:
    """A DAG that a cell of this kernel made: the version that its own runs use."""

    dag: DAG
    version: DagVersion
    cell: CellDag


@dataclass(eq=False)
class Session:
    """One for each NBFLOW_HOME in a process; :func:`session` gives the current one."""

    home: str | None
    cells: CellLog = field(default_factory=CellLog)
    user_ns: dict[str, Any] = field(default_factory=dict)
    dags: dict[str, KernelDag] = field(default_factory=dict)
    save_output: bool | None = None
    """What ``%config NbflowMagics.save_output`` says. None: nothing yet, so that the setting counts."""
    _loading: bool = False

    @cached_property
    def settings(self) -> Settings:
        """Those of the home. Reading them opens no metastore."""
        from nbflow.config import Settings

        return Settings.load(os.environ, self.home)

    @cached_property
    def app(self) -> App:
        from nbflow.app import App

        return App.open(settings=self.settings)

    @property
    def pictures(self) -> bool:
        """Outputs hold pictures; without, they are text."""
        if self.save_output is not None:
            return self.save_output
        try:
            return self.settings.notebook.save_output
        except ConfigError:  # which the user is being told, in an output
            return True

    @cached_property
    def feed(self) -> Feed:
        """What live outputs follow."""
        from nbflow.live.feed import Feed
        from nbflow.views import fetch

        return Feed(self.app.store, self.app.clock, partial(fetch, settings=self.app.settings))

    @property
    def actor(self) -> str:
        """Who stands in the history."""
        import getpass

        try:
            return f"user:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user may have no name
            return f"user:{os.getuid()}"

    @property
    def operations(self) -> Operations:
        return self.app.operations(self.actor)

    def operations_on(self, version: DagVersion) -> Operations:
        """Operations on a version; runs of what this kernel's own cells made are told apart, since a pause of the
        schedule is none of theirs (the saved file's version may well be the same one)."""
        if version.dag_id not in self.dags and version.origin != "kernel":
            return self.operations
        return self.app.operations(f"{KERNEL}{self.actor.partition(':')[2]}")

    @property
    def zone(self) -> tzinfo:
        """Of dates that name none."""
        return timezone_of(self.app.settings.core.default_timezone)

    @property
    def path(self) -> Path | None:
        """The notebook, where the front end tells."""
        return notebook_path(self.user_ns, os.environ)

    def fetch(self, query: Query[V]) -> V:
        """The view that a query selects, now."""
        from nbflow.views import fetch

        return fetch(self.app.store, query, self.app.clock.now(), self.app.settings)

    # --- DAGs of this kernel

    def keep(self, cell: CellDag) -> list[KernelDag]:
        """Register the DAGs of a cell for this kernel's own runs."""
        from nbflow.services.registration import keep_version
        from nbflow.store.base import DagVersion

        kept = []
        for dag in cell.dags:
            version = DagVersion(
                dag_id=dag.dag_id,
                spec=cell.loaded.specs[dag.dag_id],
                fileloc=str(self.path or f"<kernel {os.getpid()}>"),
                cell=cell.source.cell.name,
                files=cell.loaded.files,
            )
            stored = keep_version(self.app.store, version, self.app.clock.now())
            self.dags[dag.dag_id] = KernelDag(dag=dag, version=stored, cell=cell)
            kept.append(self.dags[dag.dag_id])
        return kept

    def version(self, dag: str | DAG) -> DagVersion:
        """The version that this kernel's runs of a DAG use: its own, else the one that the schedule follows."""
        if isinstance(dag, DAG):
            return self._version_of(dag)
        own = self.dags.get(dag)
        if own is not None:
            return own.version
        found = self.app.store.version(dag)
        if found is None:
            known = {row.dag_id for row in self.app.store.dags(include_stale=True)} | self.dags.keys()
            hint = did_you_mean(dag, known).strip() or self._unread() or f"See: {_typed('dags list')}."
            raise DagNotFound(f"There is no DAG {dag!r}.", hint=hint)
        return found

    def _unread(self) -> str:
        """What to say where DAG files lie about that nobody reads."""
        from nbflow.services import schedulers
        from nbflow.sources.discovery import find_dag_files

        core = self.app.settings.core
        folder = core.dags_folder
        if schedulers.find(self.app) is not None or not find_dag_files(folder, core.dag_ignore_file_syntax):
            return ""
        return f"The files in {folder} are read while a scheduler runs: {_typed('scheduler')}."

    def _version_of(self, dag: DAG) -> DagVersion:
        """A DAG object can be run by others where it comes from a cell or a file of its own."""
        own = self.dags.get(dag.dag_id)
        if own is not None and own.dag is dag:
            return own.version
        from nbflow.services.registration import keep_version
        from nbflow.store.base import DagVersion

        path = Path(dag.fileloc)
        loaded = self._load_once(path) if path.is_file() else None
        if loaded is None or dag.dag_id not in loaded.specs:
            why = f": {loaded.import_errors[0].message}" if loaded is not None and loaded.import_errors else "."
            raise NbflowError(
                f"DAG {dag.dag_id!r} is known to this process only, so no other one can run it{why}",
                hint="Run it here with test(), or put it into a %%dag cell or a file.",
            )
        version = DagVersion(dag_id=dag.dag_id, spec=loaded.specs[dag.dag_id], fileloc=str(path), files=loaded.files)
        return keep_version(self.app.store, version, self.app.clock.now())

    def _load_once(self, path: Path) -> Loaded:
        """Load a DAG file. A script that calls us would do so again while it is loaded, without end."""
        from nbflow.sources.loading import load_source

        if self._loading:
            raise NbflowError(f"{path.name} runs its own DAG.", hint="Put that under: if __name__ == '__main__'.")
        self._loading = True
        try:
            return load_source(path, options=self.app.compile_options())
        finally:
            self._loading = False

    def object_of(self, dag: str | DAG) -> DAG:
        """The DAG itself, to be run in this process."""
        if isinstance(dag, DAG):
            return dag
        own = self.dags.get(dag)
        if own is not None:
            return own.dag
        found = self.app.load_version(self.version(dag))
        if found.dag is None:
            raise NbflowError(f"DAG {dag!r} cannot be loaded: {found.error}.")
        return found.dag

    def find_run(self, dag: str | DAG, which: str | None = None) -> Run:
        """A run by id or logical date; by default the newest (see :meth:`Operations.find_run`)."""
        dag_id = dag.dag_id if isinstance(dag, DAG) else dag
        if dag_id not in self.dags:
            self.version(dag_id)
        return self.operations.find_run(dag_id, which)

    def fresh(self, run: RunKey) -> Run:
        """The run as it is now."""
        return self.operations.find_run(*run)

    def differs(self, dag_id: str) -> str:
        """What to say where the schedule follows something else than this kernel's version; else nothing."""
        own = self.dags.get(dag_id)
        if own is None or self.path is None:
            return ""
        saved = saved_source(self.path, dag_id)
        if saved is None:
            return "not saved yet: save the notebook and the schedule follows it"
        if saved.error is not None:
            return f"the saved notebook cannot be loaded ({saved.cell.name}, line {saved.error.line})"
        if saved.text != own.cell.source.text:
            return "differs from the saved notebook, which the schedule follows"
        if not self.path.is_relative_to(os.path.abspath(self.app.settings.core.dags_folder)):
            return f"not scheduled: the notebook is outside {self.app.settings.core.dags_folder}"
        return ""

    def close(self) -> None:
        """Let go of the home."""
        if "feed" in self.__dict__:
            self.feed.close()
            del self.__dict__["feed"]
        if "app" in self.__dict__:
            self.app.close()
            del self.__dict__["app"]


_current: list[Session] = []


def session() -> Session:
    """The session of the home that NBFLOW_HOME names now."""
    home = os.environ.get("NBFLOW_HOME")
    if not _current or _current[0].home != home:
        before = _current[0] if _current else None
        made = Session(home)
        if before is not None:
            made.cells, made.user_ns, made.save_output = before.cells, before.user_ns, before.save_output
            before.close()
        _current[:] = [made]
    return _current[0]


def end_session() -> None:
    """Close the current session; the next use opens the home anew."""
    while _current:
        _current.pop().close()
