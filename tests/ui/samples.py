"""What the tests of views share: the time at which they show views, and changed graphs."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from nbflow.views.graph import GraphView

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 6, 3, 3, tzinfo=BERLIN)


def with_task(graph: GraphView, task_id: str, **changes: Any) -> GraphView:
    """The graph with some fields of one task changed."""
    return replace(graph, tasks=tuple(replace(t, **changes) if t.task_id == task_id else t for t in graph.tasks))
