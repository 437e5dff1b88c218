"""References to results of tasks: the return value of a ``@task`` call, and an argument of other tasks.

An XComArg in an argument (at any depth of lists, tuples and dicts) sets an edge from its task; when the task with the
argument runs, :meth:`XComArg.resolve` returns the value. ``map``, ``zip`` and ``concat`` derive a reference from
others; they compute their items when the value is resolved.

The resolved value (as in Airflow)
----------------------------------
* of an unmapped task: its XCom; for a missing return value None, for another missing key XComNotFound;
* of a mapped task, or a task in a mapped group: a lazy list of the XComs in the order of map indexes;
* inside the same mapped group: the XCom of the same map index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from nbflow.authoring.edges import Linkable
from nbflow.errors import InvalidArgument, InvalidDag, XComNotFound

if TYPE_CHECKING:
    from nbflow.authoring.abstract_operator import AbstractOperator
    from nbflow.core.spec import Length

RETURN_KEY = "return_value"
_UNSET: Any = object()


class XComArg(Linkable):
    """Base of all references. ``XComArg(operator, key)`` returns a :class:`PlainXComArg`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> XComArg:
        return object.__new__(PlainXComArg if cls is XComArg else cls)

    @property
    def operators(self) -> tuple[AbstractOperator, ...]:
        """The tasks whose results it refers to."""
        raise NotImplementedError

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """Return the value for the task of ``context``."""
        raise NotImplementedError

    def length(self) -> Length:
        """The number of items that the value will have, as an expression of :mod:`nbflow.core.spec`."""
        raise NotImplementedError

    @property
    def roots(self) -> Sequence[AbstractOperator]:
        return self.operators

    @property
    def leaves(self) -> Sequence[AbstractOperator]:
        return self.operators

    def map(self, f: Callable[[Any], Any]) -> MapXComArg:
        """Apply ``f`` to each item, in the task that uses the result. If ``f`` raises AirflowSkipException, the task
        instance mapped over that item is skipped."""
        if isinstance(f, Linkable) or hasattr(f, "expand"):
            raise InvalidDag(
                "map() takes a plain function, not a @task.", hint="To run a task for each item, use f.expand(x=...)."
            )
        return MapXComArg(self, (f,))

    def zip(self, *others: XComArg, fillvalue: Any = _UNSET) -> ZipXComArg:
        """Tuples of one item of each; as many as the shortest has, or, with ``fillvalue``, the longest."""
        return ZipXComArg((self, *others), fillvalue)

    def concat(self, *others: XComArg) -> ConcatXComArg:
        """The items of this, then those of the others."""
        return ConcatXComArg((self, *others))

    def __iter__(self) -> NoReturn:
        raise InvalidArgument(
            f"{self!r} is not iterable, because its value exists only when the DAG runs.",
            hint="To run a task for each item, use f.expand(x=...); to use a key of a dict, result['key'].",
        )

    def __bool__(self) -> bool:
        return True

    def as_setup(self) -> XComArg:
        for operator in self.operators:
            operator.as_setup()
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> XComArg:
        for operator in self.operators:
            operator.as_teardown(setups=setups, on_failure_fail_dagrun=on_failure_fail_dagrun)
        return self

    def __enter__(self) -> XComArg:
        self.operators[0].open_scope(self.operators)
        return self

    def __exit__(self, *error: object) -> None:
        self.operators[0].close_scope(failed=error[0] is not None)


class PlainXComArg(XComArg):
    """One XCom of one task."""

    def __init__(self, operator: AbstractOperator, key: str = RETURN_KEY) -> None:
        self.operator = operator
        self.key = key

    def __repr__(self) -> str:
        return f"XComArg({self.operator!r}{'' if self.key == RETURN_KEY else f', {self.key!r}'})"

    def __str__(self) -> str:
        """The reference as a template, so that ``f"... {result}"`` works in template fields. It does not set an
        edge."""
        task = self.operator
        dag_id = f" dag_id={task.dag.dag_id!r}," if task.dag is not None else ""
        return f"{{{{ task_instance.xcom_pull(task_ids={task.task_id!r},{dag_id} key={self.key!r}) }}}}"

    def __getitem__(self, key: str) -> PlainXComArg:
        if not isinstance(key, str):
            raise InvalidDag(
                f"An XCom's key must be text, not {key!r}.", hint="Select the item inside the task that uses it."
            )
        return PlainXComArg(self.operator, key)

    def __eq__(self, other: object) -> bool:
        return type(other) is PlainXComArg and other.operator is self.operator and other.key == self.key

    def __hash__(self) -> int:
        return hash((id(self.operator), self.key))

    @property
    def operators(self) -> tuple[AbstractOperator, ...]:
        return (self.operator,)

    def _need_return_value(self, method: str) -> None:
        if self.key != RETURN_KEY:
            raise InvalidDag(f"{method} needs a task's return value, not its XCom {self.key!r} ({self.operator!r}).")

    def map(self, f: Callable[[Any], Any]) -> MapXComArg:
        self._need_return_value("map()")
        return super().map(f)

    def zip(self, *others: XComArg, fillvalue: Any = _UNSET) -> ZipXComArg:
        self._need_return_value("zip()")
        return super().zip(*others, fillvalue=fillvalue)

    def concat(self, *others: XComArg) -> ConcatXComArg:
        self._need_return_value("concat()")
        return super().concat(*others)

    def length(self) -> Length:
        self._need_return_value("Mapping over a result")
        return ("task", self.operator.task_id)

    def resolve(self, context: Mapping[str, Any]) -> Any:
        ti = context["ti"]
        source, group = self.operator, self.operator.mapped_group
        runtime = ti.runtime
        if group is not None and source.expand_input is None and group is getattr(ti.task, "mapped_group", None):
            rows = runtime.xcom_get([source.task_id], self.key, map_index=ti.map_index)
        elif group is not None or source.expand_input is not None:
            return LazyXComSequence(runtime, source.task_id, self.key)
        else:
            rows = runtime.xcom_get([source.task_id], self.key)
        if rows:
            _, _, value = rows[0]
            return value
        if self.key == RETURN_KEY:
            return None
        raise XComNotFound(
            f"Task {source.task_id!r} did not push the XCom {self.key!r}, which is an argument of {ti.task_id!r}.",
            hint="Its function must return a dict with that key and be declared `-> dict` (or multiple_outputs=True).",
        )


class LazyXComSequence(Sequence[Any]):
    """The results of a mapped task in the order of map indexes, read at the first use."""

    def __init__(self, runtime: Any, task_id: str, key: str = RETURN_KEY) -> None:
        self._runtime, self._task_id, self._key = runtime, task_id, key
        self._values: list[Any] | None = None

    def _all(self) -> list[Any]:
        if self._values is None:
            self._values = [value for _, _, value in self._runtime.xcom_get([self._task_id], self._key)]
        return self._values

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and self._all() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LazyXComSequence({self._task_id!r}, {self._all()!r})"


def items_of(value: Any, method: str) -> Sequence[Any]:
    """Return a list as it is, a dict as its (key, value) pairs. Raises InvalidDag, naming ``method``, for other
    types."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value
    raise InvalidDag(f"{method} needs a list or a dict, got {type(value).__name__}.")


class LazyList(Sequence[Any]):
    """A list whose items are computed at their use: an error in one item does not affect the others."""

    def __init__(self, length: int, item: Callable[[int], Any]) -> None:
        self._length, self._item = length, item

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._item(i) for i in range(*index.indices(self._length))]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(index)
        return self._item(position)

    def __repr__(self) -> str:
        return f"<{self._length} items>"


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


class MapXComArg(XComArg):
    """``arg.map(f)``"""

    def __init__(self, arg: XComArg, functions: tuple[Callable[[Any], Any], ...]) -> None:
        self.arg, self.functions = arg, functions

    def __repr__(self) -> str:
        return f"{self.arg!r}{''.join(f'.map({_name(f)})' for f in self.functions)}"

    def map(self, f: Callable[[Any], Any]) -> MapXComArg:
        return MapXComArg(self.arg, (*self.functions, *super().map(f).functions))

    @property
    def operators(self) -> tuple[AbstractOperator, ...]:
        return self.arg.operators

    def length(self) -> Length:
        return self.arg.length()

    def resolve(self, context: Mapping[str, Any]) -> Any:
        items = items_of(self.arg.resolve(context), "map()")

        def item(index: int) -> Any:
            value = items[index]
            for function in self.functions:
                value = function(value)
            return value

        return LazyList(len(items), item)


class _CombinedXComArg(XComArg):
    """Base of references that combine others. ``method``: the name of the method of XComArg."""

    method = ""

    def __init__(self, args: Sequence[XComArg]) -> None:
        for arg in args:
            if not isinstance(arg, XComArg):
                raise InvalidArgument(f"{self.method}() joins results of tasks, not {type(arg).__name__} {arg!r}.")
        self.args = tuple(args)

    def __repr__(self) -> str:
        return f"{self.args[0]!r}.{self.method}({', '.join(map(repr, self.args[1:]))})"

    @property
    def operators(self) -> tuple[AbstractOperator, ...]:
        return tuple(dict.fromkeys(task for arg in self.args for task in arg.operators))

    def _values(self, context: Mapping[str, Any]) -> list[Sequence[Any]]:
        return [items_of(arg.resolve(context), f"{self.method}()") for arg in self.args]


class ZipXComArg(_CombinedXComArg):
    """``a.zip(b)``"""

    method = "zip"

    def __init__(self, args: Sequence[XComArg], fillvalue: Any = _UNSET) -> None:
        super().__init__(args)
        self.fillvalue = fillvalue

    def length(self) -> Length:
        return ("min" if self.fillvalue is _UNSET else "max", *(arg.length() for arg in self.args))

    def resolve(self, context: Mapping[str, Any]) -> Any:
        values = self._values(context)

        def item(index: int) -> Any:
            return tuple(value[index] if index < len(value) else self.fillvalue for value in values)

        return LazyList((min if self.fillvalue is _UNSET else max)(len(value) for value in values), item)


class ConcatXComArg(_CombinedXComArg):
    """``a.concat(b)``"""

    method = "concat"

    def concat(self, *others: XComArg) -> ConcatXComArg:
        return ConcatXComArg((*self.args, *others))

    def length(self) -> Length:
        return ("sum", *(arg.length() for arg in self.args))

    def resolve(self, context: Mapping[str, Any]) -> Any:
        values = self._values(context)

        def item(index: int) -> Any:
            for value in values:
                if index < len(value):
                    return value[index]
                index -= len(value)
            raise IndexError(index)

        return LazyList(sum(map(len, values)), item)


_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def references(value: Any, depth: int = 0) -> Iterator[XComArg]:
    """Yield the XComArgs in a value, at any depth of lists, tuples, sets and dicts."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, XComArg):
        yield value
    elif depth < 64:  # ends the recursion into a container that contains itself
        if kind is dict:
            for item in value.values():
                yield from references(item, depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            for item in value:
                yield from references(item, depth + 1)
