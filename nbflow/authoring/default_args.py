"""The arguments that an operator class takes, and the sources of those that are not passed: the DAG and group of the
new task, and their ``default_args``. Used for operators and mapped operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nbflow.authoring import current_dag
from nbflow.authoring.task_arguments import KNOWN
from nbflow.errors import InvalidArgument, InvalidDag

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.taskgroup import TaskGroup


def argument_names(kind: type) -> frozenset[str]:
    """The arguments of an operator class: its own, those of its bases, and the common ones."""
    names = _names.get(kind)
    if names is None:
        inits = (cls.__dict__.get("__init__") for cls in kind.__mro__)
        names = _names[kind] = KNOWN.union(*(getattr(init, "names", ()) for init in inits))
    return names


_names: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def required_names(kind: type) -> frozenset[str]:
    """Those of :func:`argument_names` that have no default in the outermost ``__init__`` that declares them."""
    required: set[str] = set()
    overridden: set[str] = set()
    for cls in kind.__mro__:
        init = cls.__dict__.get("__init__")
        required |= getattr(init, "required", frozenset()) - overridden
        overridden |= getattr(init, "names", frozenset())
        if init is not None and not getattr(init, "open", False):
            break
    return frozenset(required)


def default_of(kind: type, name: str) -> Any:
    """The default of an operator's own argument. Raises AttributeError if it has none."""
    for cls in kind.__mro__:
        defaults = getattr(cls.__dict__.get("__init__"), "defaults", {})
        if name in defaults:
            return defaults[name]
    raise AttributeError(f"{kind.__name__} has no argument {name!r} with a default")


def missing_arguments(operator: str, missing: Collection[str], unknown: Collection[str] = ()) -> InvalidArgument:
    """The error for required arguments that were not passed to ``operator``. ``unknown``: arguments that were passed
    but do not exist; often the misspelt name of a missing one."""
    plural = "s" if len(missing) > 1 else ""
    passed = f" It has no argument {', '.join(map(repr, sorted(unknown)))}, which was passed." if unknown else ""
    return InvalidArgument(f"{operator} is missing the argument{plural} {', '.join(sorted(missing))}.{passed}")


def resolve_dag_and_group(kwargs: dict[str, Any]) -> tuple[DAG | None, TaskGroup | None]:
    """The DAG and group that a new task joins: those of its arguments ``dag`` and ``task_group`` (which are removed
    from ``kwargs``), else those of the open ``with``, else None."""
    dag, group = kwargs.pop("dag", None), kwargs.pop("task_group", None)
    if dag is not None and not hasattr(dag, "add_task"):
        raise InvalidArgument(f"dag must be a DAG, not {type(dag).__name__} {dag!r}.")
    if group is not None and not hasattr(group, "child_id"):
        raise InvalidArgument(f"task_group must be a TaskGroup, not {type(group).__name__} {group!r}.")
    if group is not None:
        if dag is not None and group.dag is not dag:
            raise InvalidDag(
                f"dag is {dag.dag_id!r}, but task_group {group.group_id!r} belongs to {group.dag.dag_id!r}."
            )
        return group.dag, group
    if dag is None:
        dag = current_dag.current_dag()
    if dag is not None:
        group = current_dag.current_group()
        if group is None or group.dag is not dag:
            group = dag.task_group
    return dag, group


def defaults_for(
    dag: DAG | None, group: TaskGroup | None, task_defaults: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """``default_args`` of the DAG, overridden by those of the groups from outside in, then by ``task_defaults``."""
    defaults: Mapping[str, Any] = group.all_default_args if group is not None else dag.default_args if dag else {}
    if task_defaults is not None and not isinstance(task_defaults, Mapping):
        raise InvalidArgument(f"default_args must be a dict, not {type(task_defaults).__name__} {task_defaults!r}.")
    return {**defaults, **task_defaults} if task_defaults else defaults
