"""The sources of arguments that are not passed to an operator: the DAG and group of the new task, and their
``default_args``. Used for operators and mapped operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.errors import InvalidArgument, InvalidDag

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.taskgroup import TaskGroup


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
