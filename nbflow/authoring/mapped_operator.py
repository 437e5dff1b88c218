"""Dynamic task mapping: ``Operator.partial(...).expand(...)``.

A mapped operator is one task of the DAG. When one of its instances runs, :meth:`MappedOperator.unmapped` creates the
operator from the shared arguments and those of the map index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.authoring.abstract_operator import AbstractOperator
from nbflow.authoring.default_args import defaults_for, resolve_dag_and_group
from nbflow.authoring.expand_input import DictOfLists, ExpandInput, ListOfDicts
from nbflow.authoring.operator_signature import argument_names, default_of, missing_arguments, required_names
from nbflow.authoring.task_arguments import COMMON, HOOKS, OLD, STRUCTURE, unknown_argument
from nbflow.errors import InvalidArgument

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.operator import BaseOperator

_UNMAPPABLE = frozenset(COMMON) | STRUCTURE | frozenset(OLD)
_MISSING: Any = object()
_COPIED = ("dag", "task_group", "place", "upstream_task_ids", "downstream_task_ids")


class Partial:
    """An operator or function that becomes a task when it is expanded; the compiler warns if it never is."""

    def __init__(self, dag: DAG | None) -> None:
        self.place, self.expanded = current_dag.place(2), False
        if dag is not None:
            dag.unfinished.append(self)

    def warn_if_unused(self) -> None:
        if not self.expanded:
            current_dag.warn(
                f"{self!r} was never expanded, so it adds no task. Call .expand(...) on it.", at=self.place
            )


class OperatorPartial(Partial):
    """The result of ``Operator.partial(...)``: an operator without the arguments that it is mapped over."""

    def __init__(self, operator_class: type[BaseOperator], kwargs: Mapping[str, Any]) -> None:
        known = argument_names(operator_class)
        if not kwargs.keys() <= known:
            raise unknown_argument(f"{operator_class.__name__}.partial()", kwargs.keys() - known, known)
        self.operator_class, self.kwargs = operator_class, dict(kwargs)
        super().__init__(resolve_dag_and_group(dict(kwargs))[0])

    def __repr__(self) -> str:
        return f"{self.operator_class.__name__}.partial({', '.join(self.kwargs)})"

    def expand(self, **mapped: Any) -> MappedOperator:
        """Map the operator: one instance for each item, or for each combination of the items of several arguments."""
        return self._expand(DictOfLists(mapped), strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Map the operator: one instance for each dict of arguments. ``strict``: the dicts must not have arguments that
        ``partial`` has."""
        return self._expand(ListOfDicts(kwargs), strict=strict)

    def _expand(self, expand_input: ExpandInput, *, strict: bool) -> MappedOperator:
        names, known = expand_input.names(), argument_names(self.operator_class)
        if names is not None:
            check_mapped_names(f"{self.operator_class.__name__}.expand()", names, self.kwargs if strict else {}, known)
        self.expanded = True
        return MappedOperator(self.operator_class, self.kwargs, expand_input, strict=strict)


def check_mapped_names(subject: str, names: frozenset[str], shared: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse mapped arguments that do not exist, cannot differ between instances, or are ``shared`` already."""
    if unknown := names - known:
        raise unknown_argument(subject, unknown, known)
    if common := names & _UNMAPPABLE:
        raise InvalidArgument(f"{subject} cannot map over {_quoted(common)}: all instances of a task share it.")
    if duplicates := names & shared.keys():
        raise InvalidArgument(f"{subject} got {_quoted(duplicates)}, which partial() has already.")


def _quoted(names: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


class MappedOperator(AbstractOperator):
    """A task that has several instances in a run.

    ``into`` names an argument that is a dict and gets the mapped arguments as items (``op_kwargs`` of a ``@task``).
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
        shared = dict(kwargs)
        self._explicit_names = frozenset(shared)
        dag, group = resolve_dag_and_group(shared)
        defaults = defaults_for(dag, group, shared.pop("default_args", None))
        names = expand_input.names() or frozenset()
        for name in argument_names(operator_class) & defaults.keys():
            if name not in names and name not in STRUCTURE:
                shared.setdefault(name, defaults[name])
        self._class, self.expand_input = operator_class, expand_input
        self.strict, self.into = strict, into
        self.place = current_dag.place(1)
        if "task_id" not in shared:
            raise InvalidArgument(f"{operator_class.__name__}.partial() is missing the argument task_id.")
        common = {name: value for name, value in shared.items() if name in COMMON or name in OLD}
        self._join(shared.pop("task_id"), common, dag, group)
        try:
            self._complete(shared, names)
        except BaseException:
            if self.dag is not None:
                self.dag.forget_task(self)
            raise
        current_dag.record_task(self)

    def _complete(self, shared: dict[str, Any], names: frozenset[str]) -> None:
        """Check and store the shared arguments, and set the edges. ``names``: those of the mapped arguments."""
        if self.mapped_group is not None:
            raise NotImplementedError(
                f"Task {self.task_id!r} is mapped inside the mapped group {self.mapped_group.group_id!r}, which is not "
                "possible: loop inside the task, or map the task outside of the group."
            )
        self.partial_kwargs = {name: value for name, value in shared.items() if name not in OLD}
        missing = required_names(self.operator_class) - shared.keys() - names - {"task_id"}
        if missing and self.expand_input.names() is not None and self.into is None:  # type: ignore[union-attr]
            raise missing_arguments(self.task_type, missing)
        for value in self.partial_kwargs.values():
            self.add_reference_edges(value)
        for up in self.iter_mapped_dependencies():
            up.set_downstream(self)

    def __repr__(self) -> str:
        return f"<Mapped({self.task_type}): {self.task_id}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "partial_kwargs" not in self.__dict__:
            raise AttributeError(name)
        if name in self.partial_kwargs and name not in HOOKS:
            return self.partial_kwargs[name]
        attribute = getattr(self._class, name, _MISSING)
        if isinstance(attribute, property):  # a property that depends on shared arguments works here, too
            return attribute.__get__(self, self._class)
        return default_of(self._class, name) if attribute is _MISSING else attribute

    @property
    def operator_class(self) -> type[BaseOperator]:  # type: ignore[override]
        return self._class

    @property
    def task_type(self) -> str:
        return self._class.__name__

    @property
    def template_fields(self) -> Sequence[str]:  # type: ignore[override]
        return self.operator_class.template_fields

    def iter_mapped_dependencies(self) -> Iterator[AbstractOperator]:
        assert self.expand_input is not None
        yield from dict.fromkeys(self.expand_input.operators())

    # --- at run time

    def unmapped(self, context: Mapping[str, Any]) -> BaseOperator:
        """Create the operator for the map index of ``context["ti"]``; its templates are not rendered yet.

        Values from XComs are wrapped in ``literal`` in template fields, because data must not be rendered as a
        template. Raises AirflowSkipException where a ``map`` function did for this item.
        """
        assert self.expand_input is not None
        resolved = self.expand_input.resolve(context, context["ti"].map_index)
        operator = self.operator_class.__new__(self.operator_class)
        operator.__dict__["_unmapped_from"] = self
        operator.__init__(**self._arguments(resolved.kwargs), task_id=self.task_id)  # type: ignore[misc]
        copied = {name: value for name, value in self.__dict__.items() if name in _COPIED or name in _SET_LATER}
        operator.__dict__.update(copied)
        for field in operator.template_fields if resolved.from_xcom else ():
            if hasattr(operator, field):
                setattr(operator, field, _as_literals(getattr(operator, field), resolved.from_xcom))
        return operator

    def _arguments(self, mapped: Mapping[str, Any]) -> dict[str, Any]:
        shared = self.partial_kwargs
        shared_items = shared.get(self.into) or {} if self.into else {}
        shared_names = shared_items.keys() if self.into else self._explicit_names
        if self.strict and (duplicates := mapped.keys() & shared_names):
            raise InvalidArgument(
                f"Task {self.task_id!r} got {_quoted(frozenset(duplicates))} twice: shared and mapped."
            )
        return {**shared, self.into: {**shared_items, **mapped}} if self.into else {**shared, **mapped}


_SET_LATER = frozenset({"is_setup", "is_teardown", "on_failure_fail_dagrun", "trigger_rule", "doc_md", "doc"})
"""Attributes that may be set on the mapped operator after its creation."""


def _as_literals(value: Any, data: frozenset[int]) -> Any:
    """Wrap every object whose ``id()`` is in ``data`` in ``literal``."""
    from nbflow.authoring.templating import literal

    if id(value) in data and value is not None and not isinstance(value, bool | int | float):
        return literal(value)
    if type(value) is dict:
        return {key: _as_literals(item, data) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_as_literals(item, data) for item in value)
    return value
