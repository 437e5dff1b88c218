"""The base of operators and mapped operators: their edges in the graph, and the common arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.authoring.edges import Linkable, link_tasks
from nbflow.authoring.operator_signature import argument_names
from nbflow.authoring.task_arguments import COMMON, HOOKS, OLD, unknown_argument, warn_deprecated
from nbflow.authoring.xcomarg import PlainXComArg, XComArg, references
from nbflow.core.identifiers import TASK_ID, check_id
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import InvalidDag

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.expand_input import ExpandInput
    from nbflow.authoring.taskgroup import MappedTaskGroup, TaskGroup


class AbstractOperator(Linkable):
    """A task of a DAG: an operator or a mapped operator, as Airflow's class of this name."""

    task_id: str
    dag: DAG | None = None
    task_group: TaskGroup | None = None
    place: current_dag.Place | None = None
    """The line of the user's file that created the task."""
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    expand_input: ExpandInput | None = None
    """What the task is mapped over."""
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    template_fields: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"

    # --- identity

    @property
    def task_type(self) -> str:
        """Class name of the operator."""
        return type(self).__name__

    @property
    def operator_name(self) -> str:
        """Display name of the operator: the class name, or ``@task``."""
        return getattr(self.operator_class, "custom_operator_name", None) or self.task_type

    @property
    def node_id(self) -> str:
        return self.task_id

    @property
    def dag_id(self) -> str:
        return self.dag.dag_id if self.dag is not None else f"adhoc_{self.owner}"

    @property
    def label(self) -> str:
        """The task id without the prefix of its groups."""
        group = self.task_group
        prefix = group.prefix if group is not None else ""
        return self.task_id.removeprefix(prefix)

    @property
    def is_mapped(self) -> bool:
        return self.expand_input is not None

    @property
    def mapped_group(self) -> MappedTaskGroup | None:
        """The innermost mapped group that contains the task."""
        group = self.task_group
        while group is not None and group.expand_input is None:
            group = group.parent_group
        return group  # type: ignore[return-value]

    # --- edges

    @property
    def roots(self) -> tuple[AbstractOperator, ...]:
        return (self,)

    @property
    def leaves(self) -> tuple[AbstractOperator, ...]:
        return (self,)

    @property
    def upstream_list(self) -> list[AbstractOperator]:
        return self._tasks(self.upstream_task_ids)

    @property
    def downstream_list(self) -> list[AbstractOperator]:
        return self._tasks(self.downstream_task_ids)

    def _tasks(self, ids: set[str]) -> list[AbstractOperator]:
        return [self.dag.task_dict[task_id] for task_id in sorted(ids)] if self.dag is not None else []

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        return self.upstream_task_ids if upstream else self.downstream_task_ids

    def get_direct_relatives(self, upstream: bool = False) -> list[AbstractOperator]:
        return self.upstream_list if upstream else self.downstream_list

    def get_flat_relative_ids(self, *, upstream: bool = False) -> set[str]:
        """Ids of all tasks upstream (or downstream) of this one."""
        ids: set[str] = set()
        pending = [self]
        while pending:
            for task in pending.pop().get_direct_relatives(upstream):
                if task.task_id not in ids:
                    ids.add(task.task_id)
                    pending.append(task)
        return ids

    def get_flat_relatives(self, upstream: bool = False) -> list[AbstractOperator]:
        return self._tasks(self.get_flat_relative_ids(upstream=upstream))

    @cached_property
    def output(self) -> XComArg:
        """A reference to the task's return value, as an argument for other tasks."""
        return PlainXComArg(self)

    def add_reference_edges(self, value: Any) -> bool:
        """Set edges to this task from the tasks whose results ``value`` refers to. Returns whether there are any."""
        reference = None
        for reference in references(value):
            ups = [up for up in reference.operators if up is not self and up.task_id not in self.upstream_task_ids]
            if ups:
                link_tasks(ups, (self,))
        return reference is not None

    # --- joining a DAG

    def _join(self, task_id: Any, common: Mapping[str, Any], dag: DAG | None, group: TaskGroup | None) -> None:
        """Set the full task id, read the common arguments, and join the DAG and group. With None the task joins no DAG;
        an edge or ``add_task`` can add it to one later."""
        check_id(task_id, TASK_ID)
        self.task_id = group.child_id(task_id) if group is not None else task_id
        if group is not None:
            check_id(self.task_id, TASK_ID)
        self.upstream_task_ids = set()
        self.downstream_task_ids = set()
        self._read_common(common)
        if dag is not None:
            dag.add_task(self, group)

    def _read_common(self, arguments: Mapping[str, Any]) -> None:
        """Check and store the common arguments that were passed."""
        attributes, subject = self.__dict__, f"task {self.task_id!r}"
        unknown: list[str] = []
        for name, value in arguments.items():
            argument = COMMON.get(name)
            if argument is None:
                if name not in OLD:
                    unknown.append(name)
                    continue
                replacement = OLD[name]
                warn_deprecated(f"{name} of {subject}", replacement)
                if replacement is None:
                    continue
                name, argument = replacement, COMMON[replacement]
            if argument.read is not None:
                value = argument.read(name, value, subject)
            if name in HOOKS:
                attributes[f"_{name}_hook"] = value
            elif value is not None or argument.default is None:
                attributes[name] = value
        if unknown:
            raise unknown_argument(f"{self.task_type} ({subject})", unknown, argument_names(self.operator_class))
        if self.wait_for_downstream:
            self.depends_on_past = True

    @property
    def operator_class(self) -> type:
        """The operator's class; of a mapped operator, the class that it maps."""
        return type(self)

    # --- setup and teardown

    def as_setup(self) -> AbstractOperator:
        """Mark the task as a setup; see Airflow's setup and teardown."""
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> AbstractOperator:
        """Mark the task as the teardown of ``setups``: it runs if a setup succeeded, whatever the tasks between did."""
        self.is_teardown = True
        self.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
        if on_failure_fail_dagrun is not None:
            self.on_failure_fail_dagrun = on_failure_fail_dagrun
        if setups is not None:
            for setup in setups if isinstance(setups, Sequence) else (setups,):
                setup.as_setup()
                setup.set_downstream(self)
        return self

    def __enter__(self) -> AbstractOperator:
        self.open_scope((self,))
        return self

    def __exit__(self, *error: object) -> None:
        self.close_scope(failed=error[0] is not None)

    def open_scope(self, tasks: Sequence[AbstractOperator]) -> None:
        """Enter ``with teardown:`` (or ``with setup:``): tasks created inside run between the setups and teardowns."""
        for task in tasks:
            if not (task.is_setup or task.is_teardown):
                raise InvalidDag(
                    f"`with` needs a setup or a teardown, and {task.task_id!r} is neither.",
                    hint="Call .as_teardown(setups=...) on it.",
                )
        current_dag.push(current_dag.current_dag() or self.dag, current_dag.current_group() or self.task_group, [])

    def close_scope(self, *, failed: bool) -> None:
        tasks = current_dag.pop().tasks or []
        if failed or not tasks:
            return
        inside = {task.task_id for task in tasks}
        first = [task for task in tasks if task.upstream_task_ids.isdisjoint(inside)]
        last = [task for task in tasks if task.downstream_task_ids.isdisjoint(inside)]
        setups = [self] if self.is_setup else [task for task in self.upstream_list if task.is_setup]
        teardowns = [self] if self.is_teardown else [task for task in self.downstream_list if task.is_teardown]
        link_tasks(setups, first)
        link_tasks(last, teardowns)

    if TYPE_CHECKING:  # the common arguments, set below from the table COMMON
        owner: Any
        retries: int
        retry_delay: timedelta
        retry_exponential_backoff: bool | float
        max_retry_delay: timedelta | None
        depends_on_past: bool
        wait_for_downstream: bool
        trigger_rule: str
        priority_weight: int
        params: Any
        do_xcom_push: bool
        multiple_outputs: bool
        doc_md: str | None

        def __getattr__(self, name: str) -> Any: ...


for _name, _argument in COMMON.items():
    if _name not in HOOKS:
        setattr(AbstractOperator, _name, _argument.default)
