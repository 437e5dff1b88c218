"""Everything that nbflow can show, one module per view.

The rules
---------
* Each module has a query, the view's values, and ``fetch(store, query, now, settings) -> View``. CLI, magics, live
  feeds and pages that show the same fact fetch the same view, so they cannot disagree. A view takes only the settings
  from outside the metastore, such as ``scheduler_health_check_threshold``.
* A **query** (:class:`~nbflow.views.base.Query`) holds ids only: no labels, paths, addresses or "newest". The surface
  resolves user input into ids first (``operations.find_run``). So a saved notebook can store a query, all watchers of
  one run share it, and it selects the same run tomorrow.
* A **view** (:class:`~nbflow.views.base.View`) is a frozen value that holds frozen values. Times are aware, in the time
  zone of their DAG. Durations are seconds. States are the values of ``core.states`` as ``str``, so that a view can show
  states that a newer nbflow wrote.
* ``fetch`` sends a **bounded number of statements**, whatever the number of DAGs, runs and tasks.
  ``tests/views/test_statements.py`` counts them.
* The texts of a view contain commands as a terminal spells them, and its ``suggestions`` are those commands. ``fetch``
  with ``spell`` returns the texts in the syntax of another surface, so that its pictures, values and JSON agree.
* A view holds **no secrets**: its JSON is saved in notebooks and sent to browsers. A command that may show a secret
  reads it itself.
* A view makes no decisions and changes nothing. The surface adds what is not in the metastore, such as unsaved cells.
* ``to_json()`` returns plain JSON with the view's name and schema version. The version rises when a reader of the old
  shape would misread the new one. :mod:`nbflow.views.patches` computes the difference between two states of a view.

To add a view, add a module here with a query and a ``fetch``, and its name to :data:`NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from nbflow.errors import SerializationError, did_you_mean

if TYPE_CHECKING:
    from datetime import datetime

    from nbflow.config import Settings
    from nbflow.store.base import Store
    from nbflow.suggested_commands import SuggestedCommand
    from nbflow.views.base import Query, View

V = TypeVar("V", bound="View")

NAMES = (
    "backfill", "backfills", "connections", "dag_details", "dag_list", "gantt", "graph", "grid", "import_errors",
    "jobs", "next_runs", "pools", "runs", "status", "task_instances", "task_log", "task_try", "timeline", "variables",
    "why_run", "why_task",
)  # fmt: skip
"""A view has the name of its module; ``dag_list`` has a ``DagListQuery``."""


@dataclass(frozen=True, slots=True)
class ViewType:
    """The query class and the fetch function of a view."""

    query: type[Query[View]]
    fetch: Callable[[Store, Any, datetime, Settings], Any]


class _ViewTypes(Mapping[str, ViewType]):
    """View types by name. A module is imported when its view is first used, so that commands start quickly."""

    def __getitem__(self, name: str) -> ViewType:
        if name not in NAMES:
            raise KeyError(name)
        module = import_module(f"nbflow.views.{name}")
        return ViewType(query=getattr(module, f"{name.title().replace('_', '')}Query"), fetch=module.fetch)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


VIEWS: Mapping[str, ViewType] = _ViewTypes()


def fetch(
    store: Store,
    query: Query[V],
    now: datetime,
    settings: Settings,
    *,
    spell: Callable[[SuggestedCommand], str] | None = None,
) -> V:
    """The view that a query selects. ``spell``: how the surface that shows it spells commands (default: as a terminal
    does)."""
    view: V = VIEWS[query.NAME].fetch(store, query, now, settings)
    return view if spell is None else view.spelled(spell)


def query_from_json(data: Mapping[str, Any]) -> Query[View]:
    """Read a query that ``Query.to_json`` wrote. The JSON is not trusted. Raises SerializationError."""
    name = data.get("view")
    if not isinstance(name, str) or name not in NAMES:
        raise SerializationError(f"There is no view {name!r}.{did_you_mean(str(name), NAMES)}")
    return VIEWS[name].query.from_json(data)
