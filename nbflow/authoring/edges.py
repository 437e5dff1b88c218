"""What may stand in ``a >> b``, and the functions that set many edges at once.

An edge joins the *leaves* of its left side to the *roots* of its right side: of a task that is the task itself, of an
XComArg its task, of a group those tasks that nothing inside the group comes after (or before). It is set at once, from
the tasks that are there: as in Airflow, a task that joins a group later is not part of an earlier edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.errors import InvalidArgument, InvalidDag, MixedDags

if TYPE_CHECKING:
    from nbflow.authoring.operator import TaskNode


class Linkable:
    """Base of tasks, XComArgs, groups and labels."""

    @property
    def roots(self) -> Sequence[TaskNode]:
        """The tasks that an edge to this ends at."""
        raise NotImplementedError

    @property
    def leaves(self) -> Sequence[TaskNode]:
        """The tasks that an edge from this starts at."""
        raise NotImplementedError

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Let this come after ``other`` (one thing or a list)."""
        for one in _each(other, self):
            link(one, self, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Let ``other`` (one thing or a list) come after this."""
        for one in _each(other, self):
            link(self, one, edge_modifier)

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
            _note_lost(up, down, bool(ups))


def link_tasks(ups: Sequence[TaskNode], downs: Sequence[TaskNode], label: str | None = None) -> None:
    """Set an edge from each task of ``ups`` to each of ``downs``. A task without a DAG joins that of the others."""
    dag = None
    strangers = []
    for task in (*ups, *downs):
        if task.dag is None:
            strangers.append(task)
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
                f"{ups[0].task_id!r} and {downs[0].task_id!r} belong to no DAG yet, so no edge can join them.",
                hint="Make them inside `with DAG(...)`, or give one of them dag=.",
            )
        return
    for task in strangers:
        dag.add_task(task)
    for up in ups:
        for down in downs:
            up.downstream_task_ids.add(down.task_id)
            down.upstream_task_ids.add(up.task_id)
            if label is not None:
                dag.edge_labels[up.task_id, down.task_id] = label


class LostEdge:
    """An edge to a group that was empty when the edge was set: it joined nothing."""

    def __init__(self, up: Linkable, down: Linkable, empty: Linkable) -> None:
        self.up, self.down, self.empty, self.place = up, down, empty, current_dag.place(2)

    def warn_if_unused(self) -> None:
        why = f"{self.empty!r} was empty then. Set it after the `with`."
        if getattr(self.empty, "children", None) and not self.empty.leaves:
            why = f"{self.empty!r} holds nothing but setups and teardowns."
        current_dag.warn(f"{self.up!r} >> {self.down!r} joins nothing: {why}", at=self.place)


def _note_lost(up: Linkable, down: Linkable, has_ups: bool) -> None:
    empty = down if has_ups else up
    dag = getattr(empty, "dag", None)
    if dag is not None:
        dag.unfinished.append(LostEdge(up, down, empty))


def _each(other: Any, this: Linkable) -> Iterable[Linkable]:
    for one in other if isinstance(other, Sequence | set | frozenset) and not isinstance(other, str) else (other,):
        if not isinstance(one, Linkable):
            raise InvalidArgument(
                f"{this!r} can be joined by an edge to tasks, groups and labels, not to {_kind(one)} {one!r}.",
                hint=_hint(one),
            )
        yield one


def _kind(thing: Any) -> str:
    return f"the {type(thing).__name__}"


def _hint(thing: Any) -> str:
    if hasattr(thing, "override") and hasattr(thing, "expand"):
        return "Call the task function: f() >> g(), not f >> g."
    return "Give the task itself, not its id." if isinstance(thing, str) else ""


class EdgeModifier(Linkable):
    """The label of an edge: ``a >> Label("when big") >> b``."""

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self._ups: list[Linkable] = []
        self._downs: list[Linkable] = []

    def __repr__(self) -> str:
        return f"Label({self.label!r})"

    @property
    def roots(self) -> list[TaskNode]:
        return [task for up in self._ups for task in up.roots]

    @property
    def leaves(self) -> list[TaskNode]:
        return [task for down in self._downs for task in down.leaves]

    def add(self, *, up: Linkable | None = None, down: Linkable | None = None) -> None:
        """One more thing before or after the label: it is joined to all that stands on the other side."""
        if up is not None:
            self._ups.append(up)
            for known in self._downs:
                link(up, known, self)
        if down is not None:
            self._downs.append(down)
            for known in self._ups:
                link(known, down, self)


def Label(label: str) -> EdgeModifier:
    """A label for an edge, shown in the graph."""
    return EdgeModifier(label)


def chain(*tasks: Any) -> None:
    """``chain(a, [b, c], [d, e], f)``: each before the next; two lists of one length are joined pair by pair.

    Raises InvalidDag for two lists of different lengths, InvalidArgument for what is no task.
    """
    for before, after in pairwise(tasks):
        if isinstance(before, Linkable):
            before.set_downstream(after)
        elif isinstance(after, Linkable):
            after.set_upstream(before)
        elif isinstance(before, Sequence) and isinstance(after, Sequence) and not isinstance(before, str):
            if len(before) != len(after):
                raise InvalidDag(
                    f"chain() joins two lists pair by pair, so they must have one length; got {len(before)} and "
                    f"{len(after)}.",
                    hint="chain_linear() and cross_downstream() join each with each.",
                )
            for one, other in zip(before, after, strict=True):
                one.set_downstream(other)
        else:
            raise InvalidArgument(
                f"chain() joins tasks, groups, labels and lists of them, not {_kind(after)} {after!r}."
            )


def chain_linear(*elements: Any) -> None:
    """``chain_linear(a, [b, c], [d, e])``: each of one list before each of the next."""
    if not elements:
        raise InvalidDag("chain_linear() was given nothing to join.")
    if len(elements) == 1:
        raise InvalidDag("chain_linear() was given one element, so it sets no edge.", hint="Expand a list with *.")
    for before, after in pairwise(elements):
        cross_downstream([before] if isinstance(before, Linkable) else before, after)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Each of ``from_tasks`` before each of ``to_tasks``."""
    for task in from_tasks:
        if not isinstance(task, Linkable):
            raise InvalidArgument(f"cross_downstream() joins tasks and groups, not {_kind(task)} {task!r}.")
        task.set_downstream(to_tasks)
