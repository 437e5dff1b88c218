"""Task groups: tasks that are shown, joined and (mapped) run together.

A group's id is the prefix of its tasks' ids (``group.task``) unless ``prefix_group_id=False``. Ids of groups and tasks
share one namespace in a DAG, as in Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, update_wrapper
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nbflow.authoring import current_dag
from nbflow.authoring.arguments import unknown_argument
from nbflow.authoring.edges import Linkable
from nbflow.authoring.expansion import DictOfLists, ExpandInput, ListOfDicts, MappedArgument
from nbflow.authoring.identifiers import check_group_key
from nbflow.errors import InvalidArgument, InvalidDag, TaskAlreadyInTaskGroup

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.operator import TaskNode

G = TypeVar("G", bound="TaskGroup")


class TaskGroup(Linkable):
    """A group of tasks; ``with TaskGroup("extract"):`` puts the tasks made inside into it.

    ``default_args`` go before the DAG's. ``add_suffix_on_collision`` makes ``g__1`` of a second ``g``.
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
        check_group_key(group_id)
        self.place: current_dag.Place | None = current_dag.place(1)
        if parent_group is None:
            parent_group = current_dag.current_group()
            if dag is not None and (parent_group is None or parent_group.dag is not dag):
                parent_group = dag.task_group
        if parent_group is None or parent_group.dag is None:
            raise InvalidDag(
                f"Group {group_id!r} belongs to no DAG.", hint="Make it inside `with DAG(...)`, or give dag=."
            )
        self.dag: DAG = parent_group.dag
        self.parent_group: TaskGroup | None = parent_group
        self.prefix_group_id = prefix_group_id
        self.default_args = dict(default_args or {})
        self.tooltip, self.ui_color, self.ui_fgcolor = tooltip, ui_color, ui_fgcolor
        self.group_display_name = group_display_name
        self.children: dict[str, TaskNode | TaskGroup] = {}
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
        """Its name without its parents'."""
        if self.group_display_name:
            return self.group_display_name
        prefix = self.parent_group.prefix if self.parent_group is not None else ""
        return self.group_id.removeprefix(prefix) if self.group_id else None

    @cached_property
    def prefix(self) -> str:
        """What stands before the ids of its tasks, with the dot."""
        if self.group_id is None:
            return ""
        if self.prefix_group_id:
            return f"{self.group_id}."
        return self.parent_group.prefix if self.parent_group is not None else ""

    def child_id(self, label: str) -> str:
        return f"{self.prefix}{label}"

    @cached_property
    def all_default_args(self) -> Mapping[str, Any]:
        """``default_args`` from the DAG inwards."""
        outer = self.parent_group.all_default_args if self.parent_group is not None else self.dag.default_args
        return {**outer, **self.default_args} if self.default_args else outer

    # --- what is in it

    def add(self, task: TaskNode | TaskGroup) -> TaskNode | TaskGroup:
        """Put a task that is in no group yet into this one."""
        if isinstance(task, TaskGroup):
            raise InvalidDag(f"{task!r} is in {task.parent_group!r} already.", hint="Give it parent_group= instead.")
        if task.task_group is not None and task.task_group is not self and not task.task_group.is_root:
            raise TaskAlreadyInTaskGroup(f"Task {task.task_id!r} is in group {task.task_group.group_id!r} already.")
        if task.dag is not None and task.task_group is not None:
            task.task_group.children.pop(task.task_id, None)
            task.task_group = self
            self.children[task.task_id] = task
        else:
            self.dag.add_task(task, self)
        return task

    def tasks(self) -> Iterator[TaskNode]:
        """All tasks in it and in the groups inside it, in the order they were made."""
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield from child.tasks()
            else:
                yield child

    __iter__ = tasks

    def iter_tasks(self) -> Iterator[TaskNode]:
        return self.tasks()

    def groups(self) -> Iterator[TaskGroup]:
        """The groups inside it, outer ones first."""
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield child
                yield from child.groups()

    def get_child_by_label(self, label: str) -> TaskNode | TaskGroup:
        """The task or group with this id inside the group."""
        return self.children[self.child_id(label)]

    def has_task(self, task: TaskNode) -> bool:
        return any(one is task for one in self.tasks())

    # --- edges

    @property
    def roots(self) -> list[TaskNode]:
        """Tasks with nothing of the group before them."""
        tasks = list(self.tasks())
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if task.upstream_task_ids.isdisjoint(inside)]

    @property
    def leaves(self) -> list[TaskNode]:
        """Tasks with nothing of the group after them. A teardown never counts: what comes after the group waits for
        the work before it, and not for the clean-up."""
        tasks = {task.task_id: task for task in self.tasks()}
        found: dict[str, TaskNode] = {}

        def work_before(task: TaskNode) -> None:
            for task_id in task.upstream_task_ids & tasks.keys():
                up = tasks[task_id]
                if up.is_teardown:
                    work_before(up)
                elif not (task.is_teardown and up.is_setup):  # the edge setup >> teardown is no work
                    found[task_id] = up

        for task in tasks.values():
            if task.downstream_task_ids.isdisjoint(tasks.keys()):
                if task.is_teardown:
                    work_before(task)
                else:
                    found[task.task_id] = task
        return [task for task_id, task in tasks.items() if task_id in found]

    def get_roots(self) -> Iterator[TaskNode]:
        return iter(self.roots)

    def get_leaves(self) -> Iterator[TaskNode]:
        return iter(self.leaves)

    # --- with

    def __enter__(self: G) -> G:
        current_dag.push(self.dag, self)
        return self

    def __exit__(self, *error: object) -> None:
        current_dag.pop()


class MappedTaskGroup(TaskGroup):
    """A group of which every map index runs its own tasks, each as soon as those before it are done."""

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
    """A function under ``@task_group``: each call makes a group of the tasks that the function makes."""

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
        return self._fill(TaskGroup(**self._group_options()), args, kwargs)

    def override(self, **options: Any) -> TaskGroupFactory:
        """The same function with other options of the group."""
        return TaskGroupFactory(self.function, {**self.options, **options}, self.shared)

    def partial(self, **kwargs: Any) -> TaskGroupFactory:
        """Arguments that all map indexes share."""
        self._check_names(kwargs.keys(), "partial()")
        return TaskGroupFactory(self.function, self.options, {**self.shared, **kwargs})

    def expand(self, **mapped: Any) -> Any:
        """A mapped group: one run of its tasks for each item."""
        self._check_names(mapped.keys(), "expand()")
        if twice := mapped.keys() & self.shared.keys():
            raise InvalidArgument(f"{self._name}.expand() got {sorted(twice)}, which partial() gives already.")
        return self._expand(DictOfLists(mapped), mapped.keys())

    def expand_kwargs(self, kwargs: Any) -> Any:
        """A mapped group: one run of its tasks for each dict of arguments."""
        given = ListOfDicts(kwargs)
        names = given.names()
        if names is None:
            names = frozenset(self.signature.parameters) - self.shared.keys()
        self._check_names(names, "expand_kwargs()")
        return self._expand(given, names)

    @property
    def _name(self) -> str:
        return f"@task_group {self.options['group_id']}"

    def _group_options(self) -> dict[str, Any]:
        return {"add_suffix_on_collision": True, **self.options}

    def _expand(self, given: ExpandInput, names: Any) -> Any:
        parameters = self.signature.parameters
        defaults = {name: parameters[name].default for name in names if name in parameters}
        arguments = {name: MappedArgument(given, name, defaults.get(name, Parameter.empty)) for name in sorted(names)}
        kwargs = {**self.shared, **arguments}
        self._bind((), kwargs)
        group = MappedTaskGroup(given, **self._group_options())
        return self._fill(group, (), kwargs)

    def _fill(self, group: TaskGroup, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the function returns stands for the group in edges and arguments; without that, the group itself."""
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
    """Make a group of the tasks that a function makes: ``@task_group`` or ``@task_group(group_id=..., ...)``."""
    if isinstance(function, str):
        return task_group(group_id=function, **options)
    if function is None:
        return lambda inner: TaskGroupFactory(inner, options)
    return TaskGroupFactory(function, options)
