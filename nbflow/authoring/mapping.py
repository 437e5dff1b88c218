"""Dynamic task mapping: ``Operator.partial(...).expand(...)``.

A mapped operator stands in the DAG as one task. When one of its instances runs, :meth:`MappedOperator.unmapped` makes
the real operator from the shared arguments and those of its map index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.authoring.arguments import COMMON, HOOKS, OLD, STRUCTURE, unknown_argument
from nbflow.authoring.expansion import DictOfLists, ExpandInput, ListOfDicts
from nbflow.authoring.operator import (
    BaseOperator,
    TaskNode,
    argument_names,
    default_of,
    defaults_for,
    find_home,
    required_names,
)
from nbflow.errors import InvalidArgument

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG

_UNMAPPABLE = frozenset(COMMON) | STRUCTURE | frozenset(OLD)
_NOTHING: Any = object()
_COPIED = ("dag", "task_group", "place", "upstream_task_ids", "downstream_task_ids")


class Partial:
    """Something that makes no task until it is expanded, and says so if it never is."""

    def __init__(self, dag: DAG | None) -> None:
        self.place, self.expanded = current_dag.place(2), False
        if dag is not None:
            dag.unfinished.append(self)

    def warn_if_unused(self) -> None:
        if not self.expanded:
            current_dag.warn(
                f"{self!r} was never expanded, so it makes no task. Call .expand(...) on it.", at=self.place
            )


class OperatorPartial(Partial):
    """What ``Operator.partial(...)`` gives: an operator that still lacks what it is mapped over."""

    def __init__(self, operator_class: type[BaseOperator], kwargs: Mapping[str, Any]) -> None:
        known = argument_names(operator_class)
        if not kwargs.keys() <= known:
            raise unknown_argument(f"{operator_class.__name__}.partial()", kwargs.keys() - known, known)
        self.operator_class, self.kwargs = operator_class, dict(kwargs)
        super().__init__(find_home(dict(kwargs))[0])

    def __repr__(self) -> str:
        return f"{self.operator_class.__name__}.partial({', '.join(self.kwargs)})"

    def expand(self, **mapped: Any) -> MappedOperator:
        """One instance for each item (for each combination, with several arguments)."""
        return self._expand(DictOfLists(mapped), strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """One instance for each dict of arguments. ``strict``: they may not give an argument of ``partial`` again."""
        return self._expand(ListOfDicts(kwargs), strict=strict)

    def _expand(self, expand_input: ExpandInput, *, strict: bool) -> MappedOperator:
        names, known = expand_input.names(), argument_names(self.operator_class)
        if names is not None:
            check_mapped_names(f"{self.operator_class.__name__}.expand()", names, self.kwargs if strict else {}, known)
        self.expanded = True
        return MappedOperator(self.operator_class, self.kwargs, expand_input, strict=strict)


def check_mapped_names(whose: str, names: frozenset[str], given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse arguments to map over that do not exist, cannot differ between instances, or are given already."""
    if unknown := names - known:
        raise unknown_argument(whose, unknown, known)
    if fixed := names & _UNMAPPABLE:
        raise InvalidArgument(f"{whose} cannot map over {_words(fixed)}: all instances of a task share it.")
    if twice := names & given.keys():
        raise InvalidArgument(f"{whose} got {_words(twice)}, which partial() gives already.")


def _words(names: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


class MappedOperator(TaskNode):
    """A task of a DAG that becomes several instances when it runs.

    ``into`` names an argument that is a dict, into which the mapped arguments go (``op_kwargs`` of a ``@task``).
    """

    def __init__(
        self,
        operator_class: type[BaseOperator],
        kwargs: Mapping[str, Any],
        expand_input: ExpandInput,
        *,
        strict: bool = True,
        into: str | None = None,
    ) -> None:
        given = dict(kwargs)
        self._said = frozenset(given)
        dag, group = find_home(given)
        defaults = defaults_for(dag, group, given.pop("default_args", None))
        names = expand_input.names() or frozenset()
        for name in argument_names(operator_class) & defaults.keys():
            if name not in names and name not in STRUCTURE:
                given.setdefault(name, defaults[name])
        self._class, self.expand_input = operator_class, expand_input
        self.strict, self.into = strict, into
        self.place = current_dag.place(1)
        if "task_id" not in given:
            raise InvalidArgument(f"{operator_class.__name__}.partial() is missing its argument task_id.")
        common = {name: value for name, value in given.items() if name in COMMON or name in OLD}
        self._settle(given.pop("task_id"), common, dag, group)
        try:
            self._complete(given, names)
        except BaseException:
            if self.dag is not None:
                self.dag.forget_task(self)
            raise
        current_dag.note_task(self)

    def _complete(self, given: dict[str, Any], names: frozenset[str]) -> None:
        if self.mapped_group is not None:
            raise NotImplementedError(
                f"Task {self.task_id!r} is mapped inside the mapped group {self.mapped_group.group_id!r}, which is not "
                "possible: loop inside the task, or map the task outside of the group."
            )
        self.partial_kwargs = {name: value for name, value in given.items() if name not in OLD}
        missing = required_names(self.operator_class) - given.keys() - names - {"task_id"}
        if missing and self.expand_input.names() is not None and self.into is None:  # type: ignore[union-attr]
            raise InvalidArgument(f"{self.task_type} is missing its argument {', '.join(sorted(missing))}.")
        for value in self.partial_kwargs.values():
            self.wire(value)
        for up in self.iter_mapped_dependencies():
            up.set_downstream(self)

    def __repr__(self) -> str:
        return f"<Mapped({self.task_type}): {self.task_id}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "partial_kwargs" not in self.__dict__:
            raise AttributeError(name)
        if name in self.partial_kwargs and name not in HOOKS:
            return self.partial_kwargs[name]
        found = getattr(self._class, name, _NOTHING)
        if isinstance(found, property):  # what the class works out from its arguments holds for the shared ones, too
            return found.__get__(self, self._class)
        return default_of(self._class, name) if found is _NOTHING else found

    @property
    def operator_class(self) -> type[BaseOperator]:  # type: ignore[override]
        return self._class

    @property
    def task_type(self) -> str:
        return self._class.__name__

    @property
    def template_fields(self) -> Sequence[str]:  # type: ignore[override]
        return self.operator_class.template_fields

    def iter_mapped_dependencies(self) -> Iterator[TaskNode]:
        assert self.expand_input is not None
        yield from dict.fromkeys(self.expand_input.operators())

    # --- at run time

    def unmapped(self, context: Mapping[str, Any]) -> BaseOperator:
        """The operator of the map index that ``context["ti"]`` has, not yet rendered.

        What came from XComs is wrapped in ``literal`` wherever it stands in a template field: data is never a template.
        Raises AirflowSkipException where a ``map`` function did for this item.
        """
        assert self.expand_input is not None
        resolved = self.expand_input.resolve(context, context["ti"].map_index)
        operator = self.operator_class.__new__(self.operator_class)
        operator.__dict__["_unmapped_from"] = self
        operator.__init__(**self._arguments(resolved.kwargs), task_id=self.task_id)  # type: ignore[misc]
        kept = {name: value for name, value in self.__dict__.items() if name in _COPIED or name in _SET_LATER}
        operator.__dict__.update(kept)
        for field in operator.template_fields if resolved.from_xcom else ():
            if hasattr(operator, field):
                setattr(operator, field, _shielded(getattr(operator, field), resolved.from_xcom))
        return operator

    def _arguments(self, mapped: Mapping[str, Any]) -> dict[str, Any]:
        shared = self.partial_kwargs
        inside = shared.get(self.into) or {} if self.into else {}
        if self.strict and (twice := mapped.keys() & (inside.keys() if self.into else self._said)):
            raise InvalidArgument(f"Task {self.task_id!r} got {_words(frozenset(twice))} twice: shared and mapped.")
        return {**shared, self.into: {**inside, **mapped}} if self.into else {**shared, **mapped}


_SET_LATER = frozenset({"is_setup", "is_teardown", "on_failure_fail_dagrun", "trigger_rule", "doc_md", "doc"})
"""What may be set on the mapped operator after it was made."""


def _shielded(value: Any, data: frozenset[int]) -> Any:
    from nbflow.authoring.templating import literal

    if id(value) in data and value is not None and not isinstance(value, bool | int | float):
        return literal(value)
    if type(value) is dict:
        return {key: _shielded(item, data) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_shielded(item, data) for item in value)
    return value
