"""Task groups: tasks that are shown together, joined by edges together, and mapped together.

A group's id is the prefix of its tasks' ids (``group.task``) unless ``prefix_group_id=False``. Groups and tasks of a
DAG share one namespace of ids, as in Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, update_wrapper
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nbflow.authoring import current_dag
from nbflow.authoring.edges import Linkable
from nbflow.authoring.expand_input import DictOfLists, ExpandInput, ListOfDicts, MappedArgument
from nbflow.authoring.task_arguments import unknown_argument
from nbflow.core.identifiers import GROUP_ID, check_id
from nbflow.errors import InvalidArgument, InvalidDag, TaskAlreadyInTaskGroup

if TYPE_CHECKING:
    from nbflow.authoring.abstract_operator import AbstractOperator
    from nbflow.authoring.dag import DAG

G = TypeVar("G", bound="TaskGroup")


class TaskGroup(Linkable):
    """A group of tasks; tasks created inside ``with TaskGroup("extract"):`` join it.

    ``default_args`` override those of the DAG. With ``add_suffix_on_collision`` a second group ``g`` gets the id
    ``g__1``.
    """

    expand_input: ExpandInput | None = None

    def __init__(
        self,
        group_id: str | None,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        ui_color: str = "CornflowerBlue",
        ui_fgcolor: str = "#000",
        add_suffix_on_collision: bool = False,
        group_display_name: str = "",
    ) -> None:
        check_id(group_id, GROUP_ID)
        self.place: current_dag.Place | None = current_dag.place(1)
        if parent_group is None:
            parent_group = current_dag.current_group()
            if dag is not None and (parent_group is None or parent_group.dag is not dag):
                parent_group = dag.task_group
        if parent_group is None or parent_group.dag is None:
            raise InvalidDag(
                f"Group {group_id!r} does not belong to a DAG.", hint="Create it inside `with DAG(...)`, or pass dag=."
            )
        self.dag: DAG = parent_group.dag
        self.parent_group: TaskGroup | None = parent_group
        self.prefix_group_id = prefix_group_id
        self.default_args = dict(default_args or {})
        self.tooltip, self.ui_color, self.ui_fgcolor = tooltip, ui_color, ui_fgcolor
        self.group_display_name = group_display_name
        self.children: dict[str, AbstractOperator | TaskGroup] = {}
        self.group_id: str | None = parent_group.child_id(group_id)  # type: ignore[arg-type]
        if add_suffix_on_collision:
            self.group_id = self.dag.free_id(self.group_id)
        self.dag.claim_id(self.group_id, self)
        parent_group.children[self.group_id] = self

    @classmethod
    def root(cls, dag: DAG) -> TaskGroup:
        """The group without an id that holds all of a DAG's tasks."""
        group = cls.__new__(cls)
        group.place, group.dag, group.parent_group, group.group_id = None, dag, None, None
        group.prefix_group_id, group.default_args, group.children = False, {}, {}
        group.tooltip, group.ui_color, group.ui_fgcolor, group.group_display_name = "", "", "", ""
        return group

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>" if self.group_id else f"<root group of {self.dag!r}>"

    # --- ids

    @property
    def is_root(self) -> bool:
        return self.parent_group is None

    @property
    def node_id(self) -> str | None:
        return self.group_id

    @property
    def label(self) -> str | None:
        """The display name: the id without the prefix of the parent groups, or ``group_display_name``."""
        if self.group_display_name:
            return self.group_display_name
        prefix = self.parent_group.prefix if self.parent_group is not None else ""
        return self.group_id.removeprefix(prefix) if self.group_id else None

    @cached_property
    def prefix(self) -> str:
        """The prefix of its tasks' ids, with the dot."""
        if self.group_id is None:
            return ""
        if self.prefix_group_id:
            return f"{self.group_id}."
        return self.parent_group.prefix if self.parent_group is not None else ""

    def child_id(self, label: str) -> str:
        return f"{self.prefix}{label}"

    @cached_property
    def all_default_args(self) -> Mapping[str, Any]:
        """``default_args`` of the DAG, overridden by those of the groups from outside in."""
        outer = self.parent_group.all_default_args if self.parent_group is not None else self.dag.default_args
        return {**outer, **self.default_args} if self.default_args else outer

    # --- content

    def add(self, task: AbstractOperator | TaskGroup) -> AbstractOperator | TaskGroup:
        """Add a task that is not in a group. Raises TaskAlreadyInTaskGroup; InvalidDag for a group."""
        if isinstance(task, TaskGroup):
            raise InvalidDag(f"{task!r} is already in {task.parent_group!r}.", hint="Pass parent_group= to it instead.")
        if task.task_group is not None and task.task_group is not self and not task.task_group.is_root:
            raise TaskAlreadyInTaskGroup(f"Task {task.task_id!r} is already in group {task.task_group.group_id!r}.")
        if task.dag is not None and task.task_group is not None:
            task.task_group.children.pop(task.task_id, None)
            task.task_group = self
            self.children[task.task_id] = task
        else:
            self.dag.add_task(task, self)
        return task

    def tasks(self) -> Iterator[AbstractOperator]:
        """All tasks of this group and the groups inside it, in the order of creation."""
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield from child.tasks()
            else:
                yield child

    __iter__ = tasks

    def iter_tasks(self) -> Iterator[AbstractOperator]:
        return self.tasks()

    def groups(self) -> Iterator[TaskGroup]:
        """The groups inside it, outer ones first."""
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield child
                yield from child.groups()

    def get_child_by_label(self, label: str) -> AbstractOperator | TaskGroup:
        """Return the task or group with this id, relative to the group. Raises KeyError."""
        return self.children[self.child_id(label)]

    def has_task(self, task: AbstractOperator) -> bool:
        return any(child is task for child in self.tasks())

    # --- edges

    @property
    def roots(self) -> list[AbstractOperator]:
        """The tasks without an upstream task in the group."""
        tasks = list(self.tasks())
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if task.upstream_task_ids.isdisjoint(inside)]

    @property
    def leaves(self) -> list[AbstractOperator]:
        """The tasks without a downstream task in the group. A teardown is replaced by the tasks before it: a task after
        the group waits for the group's work, not for its teardown."""
        tasks = {task.task_id: task for task in self.tasks()}
        leaf_ids: set[str] = set()

        def work_before(task: AbstractOperator) -> None:
            for task_id in task.upstream_task_ids & tasks.keys():
                up = tasks[task_id]
                if up.is_teardown:
                    work_before(up)
                elif not (task.is_teardown and up.is_setup):  # behind the edge setup >> teardown there is no work
                    leaf_ids.add(task_id)

        for task in tasks.values():
            if task.downstream_task_ids.isdisjoint(tasks.keys()):
                if task.is_teardown:
                    work_before(task)
                else:
                    leaf_ids.add(task.task_id)
        return [task for task_id, task in tasks.items() if task_id in leaf_ids]

    def get_roots(self) -> Iterator[AbstractOperator]:
        return iter(self.roots)

    def get_leaves(self) -> Iterator[AbstractOperator]:
        return iter(self.leaves)

    # --- with

    def __enter__(self: G) -> G:
        current_dag.push(self.dag, self)
        return self

    def __exit__(self, *error: object) -> None:
        current_dag.pop()


class MappedTaskGroup(TaskGroup):
    """A mapped group: its tasks have an instance for each map index, which depends on the instances of the same map
    index only."""

    def __init__(self, expand_input: ExpandInput, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        outer = self.parent_group
        while outer is not None:
            if outer.expand_input is not None:
                raise NotImplementedError(
                    f"Group {self.group_id!r} is mapped inside the mapped group {outer.group_id!r}."
                )
            outer = outer.parent_group
        self.expand_input = expand_input

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if error[0] is None and self.expand_input is not None:
            for up in dict.fromkeys(self.expand_input.operators()):
                self.set_upstream(up)


_OPTIONS = frozenset(signature(TaskGroup.__init__).parameters) - {"self"}


class TaskGroupFactory:
    """A function decorated with ``@task_group``: each call adds a group with the tasks that the function creates."""

    def __init__(
        self, function: Callable[..., Any], options: Mapping[str, Any], shared: Mapping[str, Any] | None = None
    ) -> None:
        if not callable(function):
            raise InvalidArgument(f"@task_group decorates a function, not {type(function).__name__} {function!r}.")
        if not options.keys() <= _OPTIONS:
            raise unknown_argument("@task_group", options.keys() - _OPTIONS, _OPTIONS)
        self.function, self.options, self.shared = function, dict(options), dict(shared or {})
        self.options.setdefault("group_id", function.__name__)
        self.options.setdefault("tooltip", (function.__doc__ or "").strip())
        update_wrapper(self, function)

    @cached_property
    def signature(self) -> Signature:
        return signature(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kwargs = {**self.shared, **kwargs}
        self._bind(args, kwargs)
        return self._call_function(TaskGroup(**self._group_options()), args, kwargs)

    def override(self, **options: Any) -> TaskGroupFactory:
        """The same function with other group options."""
        return TaskGroupFactory(self.function, {**self.options, **options}, self.shared)

    def partial(self, **kwargs: Any) -> TaskGroupFactory:
        """Pass the arguments that all map indexes share."""
        self._check_names(kwargs.keys(), "partial()")
        return TaskGroupFactory(self.function, self.options, {**self.shared, **kwargs})

    def expand(self, **mapped: Any) -> Any:
        """Map the group: one instance of its tasks for each item, or each combination of items of several arguments."""
        self._check_names(mapped.keys(), "expand()")
        if duplicates := mapped.keys() & self.shared.keys():
            raise InvalidArgument(f"{self._name}.expand() got {sorted(duplicates)}, which partial() has already.")
        return self._expand(DictOfLists(mapped), mapped.keys())

    def expand_kwargs(self, kwargs: Any) -> Any:
        """Map the group: one instance of its tasks for each dict of arguments."""
        expand_input = ListOfDicts(kwargs)
        names = expand_input.names()
        if names is None:
            names = frozenset(self.signature.parameters) - self.shared.keys()
        self._check_names(names, "expand_kwargs()")
        return self._expand(expand_input, names)

    @property
    def _name(self) -> str:
        return f"@task_group {self.options['group_id']}"

    def _group_options(self) -> dict[str, Any]:
        return {"add_suffix_on_collision": True, **self.options}

    def _expand(self, expand_input: ExpandInput, names: Any) -> Any:
        parameters = self.signature.parameters
        defaults = {name: parameters[name].default for name in names if name in parameters}
        mapped = {
            name: MappedArgument(expand_input, name, defaults.get(name, Parameter.empty)) for name in sorted(names)
        }
        kwargs = {**self.shared, **mapped}
        self._bind((), kwargs)
        group = MappedTaskGroup(expand_input, **self._group_options())
        return self._call_function(group, (), kwargs)

    def _call_function(self, group: TaskGroup, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the function inside the group. Returns its result, or the group if it returns None."""
        with group:
            result = self.function(*args, **kwargs)
        return group if result is None else result

    def _check_names(self, names: Any, where: str) -> None:
        parameters = self.signature.parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        if unknown := set(names) - parameters.keys():
            raise unknown_argument(f"{self._name}.{where}", unknown, parameters)

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self._name}: {error}.") from None


@overload
def task_group(function: Callable[..., Any]) -> TaskGroupFactory: ...
@overload
def task_group(function: None = None, **options: Any) -> Callable[[Callable[..., Any]], TaskGroupFactory]: ...
def task_group(function: Any = None, **options: Any) -> Any:
    """Decorate a function that defines a group of tasks: ``@task_group`` or ``@task_group(group_id=..., ...)``."""
    if isinstance(function, str):
        return task_group(group_id=function, **options)
    if function is None:
        return lambda inner: TaskGroupFactory(inner, options)
    return TaskGroupFactory(function, options)
