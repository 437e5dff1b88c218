"""What a task or group is mapped over: the number of instances, and the arguments of each.

``expand(x=[1, 2], y=[...])`` maps over the cross product with the *first* argument outermost, as in Airflow: with two
``x`` and three ``y``, map index 4 is x[1], y[1]. A dict is mapped over as the list of its (key, value) pairs. Values
from XComs are data: :attr:`Resolved.from_xcom` identifies the objects that must not be rendered as templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nbflow.authoring.xcomarg import XComArg, items_of, references
from nbflow.errors import InvalidArgument, InvalidDag

if TYPE_CHECKING:
    from nbflow.authoring.abstract_operator import AbstractOperator
    from nbflow.authoring.taskgroup import MappedTaskGroup
    from nbflow.core.spec import Length


class Resolved(NamedTuple):
    """The keyword arguments of one map index, and the ``id()`` of each value that came from an XCom."""

    kwargs: dict[str, Any]
    from_xcom: frozenset[int]


class ExpandInput(Protocol):
    """DictOfLists or ListOfDicts."""

    def length(self) -> Length:
        """The number of instances, as an expression of :mod:`nbflow.core.spec`."""

    def names(self) -> frozenset[str] | None:
        """The names of the mapped arguments; None if they are known only at run time."""

    def operators(self) -> Iterator[AbstractOperator]:
        """The tasks whose results it depends on."""

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        """The arguments of instance ``map_index``. Raises AirflowSkipException where a ``map`` function did."""


class DictOfLists:
    """``expand(x=..., y=...)``: the cross product."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        if not value:
            raise InvalidArgument("expand() needs an argument to map over.", hint="For example expand(x=[1, 2, 3]).")
        for name, items in value.items():
            if isinstance(items, str) or not isinstance(items, XComArg | Mapping | Sequence):
                raise InvalidDag(
                    f"expand() cannot map over the {type(items).__name__} {items!r} passed as {name!r}: it takes a "
                    "list, a dict, or the result of a task.",
                    hint="Pass arguments that are the same for all instances to partial().",
                )
            if isinstance(items, XComArg):
                items.length()  # raises for a result without a length, at the user's line
        self.value = value

    def length(self) -> Length:
        parts = [items.length() if isinstance(items, XComArg) else ("lit", len(items)) for items in self.value.values()]
        return parts[0] if len(parts) == 1 else ("mul", *parts)

    def names(self) -> frozenset[str] | None:
        return frozenset(self.value)

    def operators(self) -> Iterator[AbstractOperator]:
        for reference in references(dict(self.value)):
            yield from reference.operators

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        from_xcom: set[int] = set()
        lists = {name: _items(items, context, name) for name, items in self.value.items()}
        total = prod(len(items) for items in lists.values())
        if not 0 <= map_index < total:
            raise InvalidDag(f"There is no map index {map_index}: the task is mapped over {total} items.")
        indexes: dict[str, int] = {}
        for name in reversed(lists):
            map_index, indexes[name] = divmod(map_index, len(lists[name]))
        kwargs: dict[str, Any] = {}
        for name, items in lists.items():
            item = items[indexes[name]]
            if isinstance(self.value[name], XComArg):
                from_xcom.add(id(item))
            kwargs[name] = _resolve_references(item, context, from_xcom)
        return Resolved(kwargs, frozenset(from_xcom))


class ListOfDicts:
    """``expand_kwargs([...])``: a dict of arguments for each instance."""

    def __init__(self, value: Any) -> None:
        if isinstance(value, str) or not isinstance(value, XComArg | Sequence):
            raise InvalidArgument(
                f"expand_kwargs() takes a list of dicts or the result of a task, not {type(value).__name__} {value!r}."
            )
        if isinstance(value, XComArg):
            value.length()
        else:
            for kwargs in value:
                if not isinstance(kwargs, XComArg | Mapping):
                    raise InvalidArgument(
                        f"expand_kwargs() takes dicts of arguments, not {type(kwargs).__name__} {kwargs!r}."
                    )
        self.value = value

    def length(self) -> Length:
        return self.value.length() if isinstance(self.value, XComArg) else ("lit", len(self.value))

    def names(self) -> frozenset[str] | None:
        if isinstance(self.value, XComArg) or any(isinstance(kwargs, XComArg) for kwargs in self.value):
            return None
        return frozenset(name for kwargs in self.value for name in kwargs)

    def operators(self) -> Iterator[AbstractOperator]:
        for reference in references(self.value):
            yield from reference.operators

    def resolve(self, context: Mapping[str, Any], map_index: int) -> Resolved:
        items = (
            items_of(self.value.resolve(context), "expand_kwargs()") if isinstance(self.value, XComArg) else self.value
        )
        kwargs = items[map_index]
        is_xcom = isinstance(self.value, XComArg) or isinstance(kwargs, XComArg)
        if isinstance(kwargs, XComArg):
            kwargs = kwargs.resolve(context)
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
            raise InvalidDag(f"expand_kwargs() needs a dict of arguments for map index {map_index}, not {kwargs!r}.")
        from_xcom = {id(value) for value in kwargs.values()} if is_xcom else set()
        resolved = {name: _resolve_references(value, context, from_xcom) for name, value in kwargs.items()}
        return Resolved(resolved, frozenset(from_xcom))


def _items(value: Any, context: Mapping[str, Any], name: str) -> Sequence[Any]:
    return items_of(value.resolve(context) if isinstance(value, XComArg) else value, f"expand({name}=...)")


def _resolve_references(value: Any, context: Mapping[str, Any], from_xcom: set[int]) -> Any:
    """Replace the XComArgs in an item by their values; adds the ``id()`` of these values to ``from_xcom``."""
    if isinstance(value, XComArg):
        resolved = value.resolve(context)
        from_xcom.add(id(resolved))
        return resolved
    if id(value) in from_xcom:
        return value
    if type(value) is dict:
        return {key: _resolve_references(item, context, from_xcom) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_resolve_references(item, context, from_xcom) for item in value)
    return value


class MappedArgument(XComArg):
    """Inside a mapped group: an argument that the group is mapped over."""

    def __init__(self, group_input: ExpandInput, key: str, default: Any = Parameter.empty) -> None:
        self.group_input, self.key, self.default = group_input, key, default
        self.group: MappedTaskGroup | None = None

    def __repr__(self) -> str:
        return f"MappedArgument({self.key!r})"

    @property
    def operators(self) -> tuple[AbstractOperator, ...]:
        return tuple(dict.fromkeys(self.group_input.operators()))

    def length(self) -> Length:
        raise NotImplementedError(
            f"A task inside a mapped group cannot itself be mapped over the group's argument {self.key!r}. "
            "Map over a list from outside the group, or loop inside the task."
        )

    def resolve(self, context: Mapping[str, Any]) -> Any:
        map_index = context["ti"].map_index
        kwargs = self.group_input.resolve(context, map_index).kwargs
        if self.key in kwargs:
            return kwargs[self.key]
        if self.default is Parameter.empty:
            raise InvalidDag(f"The arguments of the mapped group lack {self.key!r} for map index {map_index}.")
        return self.default
