"""Edges: the operands of ``a >> b``, and the functions that set many edges at once.

``a >> b`` sets edges from the *leaves* of ``a`` to the *roots* of ``b``. Leaves and roots of a task are the task
itself, those of an XComArg its task, those of a group its tasks without a downstream (upstream) task in the group. The
edges are set immediately: as in Airflow, a task that joins a group later is not part of an earlier edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.errors import InvalidArgument, InvalidDag, MixedDags

if TYPE_CHECKING:
    from nbflow.authoring.abstract_operator import AbstractOperator


class Linkable:
    """Base of tasks, XComArgs, groups and labels."""

    @property
    def roots(self) -> Sequence[AbstractOperator]:
        """The tasks at which an edge to this operand ends."""
        raise NotImplementedError

    @property
    def leaves(self) -> Sequence[AbstractOperator]:
        """The tasks at which an edge from this operand starts."""
        raise NotImplementedError

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Run this after ``other`` (an operand or a list of operands)."""
        for up in _each(other, self):
            link(up, self, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Run ``other`` (an operand or a list of operands) after this."""
        for down in _each(other, self):
            link(self, down, edge_modifier)

    def __rshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return self


def link(up: Linkable, down: Linkable, label: EdgeModifier | None = None) -> None:
    """Set the edges from the leaves of ``up`` to the roots of ``down``."""
    if isinstance(up, EdgeModifier):
        up.add(down=down)
    elif isinstance(down, EdgeModifier):
        down.add(up=up)
    else:
        ups, downs = up.leaves, down.roots
        link_tasks(ups, downs, label.label if label is not None else None)
        if not ups or not downs:
            _record_ineffective_edge(up, down, empty=down if ups else up)


def link_tasks(ups: Sequence[AbstractOperator], downs: Sequence[AbstractOperator], label: str | None = None) -> None:
    """Set an edge from each task of ``ups`` to each of ``downs``. A task without a DAG joins that of the others."""
    dag = None
    without_dag = []
    for task in (*ups, *downs):
        if task.dag is None:
            without_dag.append(task)
        elif dag is None:
            dag = task.dag
        elif task.dag is not dag:
            raise MixedDags(
                f"An edge cannot join tasks of two DAGs: {ups[0].task_id!r} and {downs[0].task_id!r} belong to "
                f"{dag.dag_id!r} and {task.dag.dag_id!r}.",
                hint="To wait for another DAG, use ExternalTaskSensor; to start one, TriggerDagRunOperator.",
            )
    if dag is None:
        if ups and downs:
            raise MixedDags(
                f"{ups[0].task_id!r} and {downs[0].task_id!r} do not belong to a DAG, so an edge cannot join them.",
                hint="Create them inside `with DAG(...)`, or pass dag= to one of them.",
            )
        return
    for task in without_dag:
        dag.add_task(task)
    for up in ups:
        for down in downs:
            up.downstream_task_ids.add(down.task_id)
            down.upstream_task_ids.add(up.task_id)
            if label is not None:
                dag.edge_labels[up.task_id, down.task_id] = label


class IneffectiveEdge:
    """An edge from or to a group that was empty when the edge was set, so that no tasks were joined."""

    def __init__(self, up: Linkable, down: Linkable, empty: Linkable) -> None:
        self.up, self.down, self.empty, self.place = up, down, empty, current_dag.place(2)

    def warn_if_unused(self) -> None:
        reason = f"{self.empty!r} was empty when the edge was set. Set it after the `with`."
        if getattr(self.empty, "children", None) and not self.empty.leaves:
            reason = f"{self.empty!r} contains only setups and teardowns."
        current_dag.warn(f"{self.up!r} >> {self.down!r} has no effect: {reason}", at=self.place)


def _record_ineffective_edge(up: Linkable, down: Linkable, empty: Linkable) -> None:
    dag = getattr(empty, "dag", None)
    if dag is not None:
        dag.unfinished.append(IneffectiveEdge(up, down, empty))


def _each(other: Any, operand: Linkable) -> Iterable[Linkable]:
    """The items of the other operand. Raises InvalidArgument, which names this ``operand``, for an invalid item."""
    for item in other if isinstance(other, Sequence | set | frozenset) and not isinstance(other, str) else (other,):
        if not isinstance(item, Linkable):
            raise InvalidArgument(
                f"An edge can join {operand!r} to tasks, groups and labels, not to {_described(item)}.",
                hint=_hint(item),
            )
        yield item


def _described(value: Any) -> str:
    return f"the {type(value).__name__} {value!r}"


def _hint(value: Any) -> str:
    if hasattr(value, "override") and hasattr(value, "expand"):
        return "Call the task function: f() >> g(), not f >> g."
    return "Use the task itself, not its id." if isinstance(value, str) else ""


class EdgeModifier(Linkable):
    """The label of an edge: ``a >> Label("when big") >> b``."""

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self._ups: list[Linkable] = []
        self._downs: list[Linkable] = []

    def __repr__(self) -> str:
        return f"Label({self.label!r})"

    @property
    def roots(self) -> list[AbstractOperator]:
        return [task for up in self._ups for task in up.roots]

    @property
    def leaves(self) -> list[AbstractOperator]:
        return [task for down in self._downs for task in down.leaves]

    def add(self, *, up: Linkable | None = None, down: Linkable | None = None) -> None:
        """Add an operand before or after the label, and set its edges to all operands on the other side."""
        if up is not None:
            self._ups.append(up)
            for existing in self._downs:
                link(up, existing, self)
        if down is not None:
            self._downs.append(down)
            for existing in self._ups:
                link(existing, down, self)


def Label(label: str) -> EdgeModifier:
    """A label for an edge, shown in the graph."""
    return EdgeModifier(label)


def chain(*tasks: Any) -> None:
    """``chain(a, [b, c], [d, e], f)``: set edges from each to the next; two lists of equal length are joined in pairs.

    Raises InvalidDag for two lists of different lengths, InvalidArgument for anything that an edge cannot join.
    """
    for before, after in pairwise(tasks):
        if isinstance(before, Linkable):
            before.set_downstream(after)
        elif isinstance(after, Linkable):
            after.set_upstream(before)
        elif isinstance(before, Sequence) and isinstance(after, Sequence) and not isinstance(before, str):
            if len(before) != len(after):
                raise InvalidDag(
                    f"chain() joins two lists in pairs, so their lengths must be equal; got {len(before)} and "
                    f"{len(after)}.",
                    hint="chain_linear() and cross_downstream() join every item with every item.",
                )
            for up, down in zip(before, after, strict=True):
                up.set_downstream(down)
        else:
            raise InvalidArgument(f"chain() joins tasks, groups, labels and lists of them, not {_described(after)}.")


def chain_linear(*elements: Any) -> None:
    """``chain_linear(a, [b, c], [d, e])``: set edges from every item of a list to every item of the next."""
    if not elements:
        raise InvalidDag("chain_linear() needs tasks to join.")
    if len(elements) == 1:
        raise InvalidDag("chain_linear() got one element, so it sets no edges.", hint="Unpack a list with *.")
    for before, after in pairwise(elements):
        cross_downstream([before] if isinstance(before, Linkable) else before, after)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Set edges from each of ``from_tasks`` to each of ``to_tasks``."""
    for task in from_tasks:
        if not isinstance(task, Linkable):
            raise InvalidArgument(f"cross_downstream() joins tasks and groups, not {_described(task)}.")
        task.set_downstream(to_tasks)
