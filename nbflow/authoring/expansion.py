"""What a task or group is mapped over: how many instances that makes, and what each of them gets.

``expand(x=[1, 2], y=[...])`` makes the cross product with the *first* argument outermost, as Airflow does: with two
``x`` and three ``y``, map index 4 is x[1], y[1]. A dict counts as the list of its (key, value) pairs. What comes from
an XCom is data: :attr:`Resolved.from_xcom` names the objects that no template may be read from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nbflow.authoring.xcomarg import XComArg, items_of, references
from nbflow.errors import InvalidArgument, InvalidDag

if TYPE_CHECKING:
    from nbflow.authoring.operator import TaskNode
    from nbflow.authoring.taskgroup import MappedTaskGroup
    from nbflow.core.spec import Length


class Resolved(NamedTuple):
    """The keyword arguments of one map index, and the ids (``id()``) of the values that came from XComs."""

    kwargs: dict[str, Any]
    from_xcom: frozenset[int]


class ExpandInput(Protocol):
    """Either of the two classes below."""

    def length(self) -> Length:
        """How many instances, as an expression of :mod:`nbflow.core.spec`."""

    def names(self) -> frozenset[str] | None:
        """The arguments that it gives; None: known only at run time."""

    def operators(self) -> Iterator[TaskNode]:
        """The tasks that must have run before it can be resolved."""

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        """What instance ``map_index`` gets. Raises AirflowSkipException where a ``map`` function did."""


class DictOfLists:
    """``expand(x=..., y=...)``: the cross product."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        if not value:
            raise InvalidArgument("expand() was given nothing to map over.", hint="For example expand(x=[1, 2, 3]).")
        for name, one in value.items():
            if isinstance(one, str) or not isinstance(one, XComArg | Mapping | Sequence):
                raise InvalidDag(
                    f"expand() cannot map over the {type(one).__name__} {one!r} given for {name!r}: it takes a list, "
                    "a dict, or the result of a task.",
                    hint="What is the same for all goes into partial().",
                )
            if isinstance(one, XComArg):
                one.length()  # refuses what has none, while the line that wrote it is at hand
        self.value = value

    def length(self) -> Length:
        parts = [one.length() if isinstance(one, XComArg) else ("lit", len(one)) for one in self.value.values()]
        return parts[0] if len(parts) == 1 else ("mul", *parts)

    def names(self) -> frozenset[str] | None:
        return frozenset(self.value)

    def operators(self) -> Iterator[TaskNode]:
        for found in references(dict(self.value)):
            yield from found.operators

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        seen: set[int] = set()
        lists = {name: _items(one, context, name) for name, one in self.value.items()}
        total = prod(len(items) for items in lists.values())
        if not 0 <= map_index < total:
            raise InvalidDag(f"There is no map index {map_index}: the task is mapped over {total} items.")
        chosen: dict[str, Any] = {}
        for name in reversed(lists):
            map_index, at = divmod(map_index, len(lists[name]))
            chosen[name] = at
        kwargs: dict[str, Any] = {}
        for name, items in lists.items():
            item = items[chosen[name]]
            if isinstance(self.value[name], XComArg):
                seen.add(id(item))
            kwargs[name] = _inside(item, context, seen)
        return Resolved(kwargs, frozenset(seen))


class ListOfDicts:
    """``expand_kwargs([...])``: one dict of arguments for each instance."""

    def __init__(self, value: Any) -> None:
        if isinstance(value, str) or not isinstance(value, XComArg | Sequence):
            raise InvalidArgument(
                f"expand_kwargs() takes a list of dicts or the result of a task, not {type(value).__name__} {value!r}."
            )
        if isinstance(value, XComArg):
            value.length()
        else:
            for one in value:
                if not isinstance(one, XComArg | Mapping):
                    raise InvalidArgument(
                        f"expand_kwargs() takes dicts of arguments, not {type(one).__name__} {one!r}."
                    )
        self.value = value

    def length(self) -> Length:
        return self.value.length() if isinstance(self.value, XComArg) else ("lit", len(self.value))

    def names(self) -> frozenset[str] | None:
        if isinstance(self.value, XComArg) or any(isinstance(one, XComArg) for one in self.value):
            return None
        return frozenset(name for one in self.value for name in one)

    def operators(self) -> Iterator[TaskNode]:
        for found in references(self.value):
            yield from found.operators

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        items = (
            items_of(self.value.resolve(context), "expand_kwargs()") if isinstance(self.value, XComArg) else self.value
        )
        kwargs = items[map_index]
        whole = isinstance(self.value, XComArg) or isinstance(kwargs, XComArg)
        if isinstance(kwargs, XComArg):
            kwargs = kwargs.resolve(context)
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
            raise InvalidDag(f"expand_kwargs() needs a dict of arguments for map index {map_index}, not {kwargs!r}.")
        seen = {id(value) for value in kwargs.values()} if whole else set()
        return Resolved({name: _inside(value, context, seen) for name, value in kwargs.items()}, frozenset(seen))


def _items(value: Any, context: Mapping[str, Any], name: str) -> Sequence[Any]:
    return items_of(value.resolve(context) if isinstance(value, XComArg) else value, f"expand({name}=...)")


def _inside(value: Any, context: Mapping[str, Any], seen: set[int]) -> Any:
    """A literal item with the results it refers to put in their places."""
    if isinstance(value, XComArg):
        found = value.resolve(context)
        seen.add(id(found))
        return found
    if id(value) in seen:
        return value
    if type(value) is dict:
        return {key: _inside(item, context, seen) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_inside(item, context, seen) for item in value)
    return value


class MappedArgument(XComArg):
    """Inside a mapped group: the argument that differs from one map index to the next."""

    def __init__(self, group_input: ExpandInput, key: str, default: Any = Parameter.empty) -> None:
        self.group_input, self.key, self.default = group_input, key, default
        self.group: MappedTaskGroup | None = None

    def __repr__(self) -> str:
        return f"MappedArgument({self.key!r})"

    @property
    def operators(self) -> tuple[TaskNode, ...]:
        return tuple(dict.fromkeys(self.group_input.operators()))

    def length(self) -> Length:
        raise NotImplementedError(
            f"A task inside a mapped group cannot itself be mapped over the group's argument {self.key!r}. "
            "Map over a list made before the group, or loop inside the task."
        )

    def resolve(self, context: Mapping[str, Any]) -> Any:
        map_index = context["ti"].map_index
        given = self.group_input.resolve(context, map_index).kwargs
        if self.key in given:
            return given[self.key]
        if self.default is Parameter.empty:
            raise InvalidDag(f"What the group is mapped over has no {self.key!r} for map index {map_index}.")
        return self.default
