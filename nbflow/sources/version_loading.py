"""Loading a stored version of a DAG, for the kernel, commands, executors, callbacks and timetables.

:class:`VersionSource` is the input of loading; it is sent as JSON to the processes that run user code. A DAG must
compile there as it did when it was parsed, so the settings that affect compiling (:class:`LoadingOptions`) are part of
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nbflow.authoring.compile import CompileOptions
from nbflow.sources.code_units import SourceError
from nbflow.sources.loading import Loaded, load_source

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingOptions:
    """The settings that affect how DAGs are loaded."""

    compile: CompileOptions = field(default_factory=CompileOptions)
    dags_folder: str | None = None
    versions_folder: str | None = None
    """The folder to which the source of a version is written if the DAGs folder no longer has it."""


class Version(Protocol):
    """The attributes of :class:`nbflow.store.base.DagVersion` that loading needs."""

    @property
    def dag_id(self) -> str: ...
    @property
    def fileloc(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSource:
    """The source of a version, and the options for loading it."""

    dag_id: str
    fileloc: str
    files: Mapping[str, str]
    """Path relative to the DAGs folder -> text. If empty, the file at ``fileloc`` is loaded as it is."""
    loading: LoadingOptions

    @classmethod
    def of(cls, version: Version, loading: LoadingOptions) -> VersionSource:
        return cls(dag_id=version.dag_id, fileloc=version.fileloc, files=dict(version.files), loading=loading)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VersionSource:
        loading = {**data["loading"], "compile": CompileOptions(**data["loading"]["compile"])}
        return cls(**{**data, "loading": LoadingOptions(**loading)})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """The result of loading a version. If the source no longer defines the DAG, ``dag`` is None and ``error`` is the
    reason, in one line."""

    dag: DAG | None
    loaded: Loaded
    error: str = ""
    detail: str = ""
    """The traceback, without nbflow's frames."""


def load_version(source: VersionSource, *, keep_imports: bool = False) -> LoadedVersion:
    """Run the source of a version. ``keep_imports``: see :func:`nbflow.sources.loading.load_source`. Does not raise for
    errors in the source."""
    loading = source.loading
    loaded = load_source(
        source.fileloc,
        source.files or None,
        folder=loading.dags_folder,
        versions_folder=loading.versions_folder,
        options=loading.compile,
        keep_imports=keep_imports,
    )
    for dag in loaded.dags:
        if dag.dag_id == source.dag_id:
            return LoadedVersion(dag=dag, loaded=loaded)
    error = next((error for error in loaded.import_errors if error.dag_id in (None, source.dag_id)), None)
    if error is None:
        return LoadedVersion(dag=None, loaded=loaded, error=f"the source no longer defines the DAG {source.dag_id!r}")
    return LoadedVersion(dag=None, loaded=loaded, error=f"{error.message}{_place(error)}", detail=error.detail)


def _place(error: SourceError) -> str:
    place = ", ".join(filter(None, [error.cell, f"line {error.line}" if error.line else ""]))
    return f" ({place})" if place else ""
