"""A stored version of a DAG, loaded again: one way for the kernel, commands, executors, callbacks and timetables.

All that loading takes is a value, :class:`VersionSource`; as JSON it travels to the processes that run user code. A DAG
must compile there as it did when it was parsed, so the settings' part in that (:class:`LoadingOptions`) travels along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nbflow.authoring.compile import CompileOptions
from nbflow.sources.loading import Fault, Loaded, load_source

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingOptions:
    """What a home has to say on how its DAGs are loaded."""

    compile: CompileOptions = field(default_factory=CompileOptions)
    dags_folder: str | None = None
    versions_folder: str | None = None
    """Where the source of a version is written if the DAGs folder no longer holds it."""


class Version(Protocol):
    """What is needed of :class:`nbflow.store.base.DagVersion`."""

    @property
    def dag_id(self) -> str: ...
    @property
    def fileloc(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSource:
    """The source of a version, and how this home loads it."""

    dag_id: str
    fileloc: str
    files: Mapping[str, str]
    """Path relative to the DAGs folder -> text; without any the file at ``fileloc`` is loaded as it is."""
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
    """What the source gave. ``dag`` is None where it no longer gives this DAG; ``error`` then says why, in one line."""

    dag: DAG | None
    loaded: Loaded
    error: str = ""
    detail: str = ""
    """The user's part of the traceback."""


def load_version(source: VersionSource, *, keep: bool = False) -> LoadedVersion:
    """Run the source of a version. ``keep``: see :func:`nbflow.sources.loading.load_source`. Never raises for what is
    wrong with the source."""
    loading = source.loading
    loaded = load_source(
        source.fileloc,
        source.files or None,
        folder=loading.dags_folder,
        versions_folder=loading.versions_folder,
        options=loading.compile,
        keep=keep,
    )
    for dag in loaded.dags:
        if dag.dag_id == source.dag_id:
            return LoadedVersion(dag=dag, loaded=loaded)
    fault = next((fault for fault in loaded.faults if fault.dag_id in (None, source.dag_id)), None)
    if fault is None:
        return LoadedVersion(dag=None, loaded=loaded, error=f"the source no longer defines the DAG {source.dag_id!r}")
    return LoadedVersion(dag=None, loaded=loaded, error=f"{fault.error}{_place(fault)}", detail=fault.detail)


def _place(fault: Fault) -> str:
    place = ", ".join(filter(None, [fault.cell, f"line {fault.line}" if fault.line else ""]))
    return f" ({place})" if place else ""
