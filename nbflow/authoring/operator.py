"""Tasks: the base of every task of a DAG (:class:`TaskNode`), and the base of all operators (:class:`BaseOperator`).

Creating an operator
--------------------
An operator declares its own arguments as keyword parameters of a normal ``__init__`` and passes the rest to
``super().__init__(**kwargs)``; :class:`BaseOperator` takes the common arguments
(:data:`nbflow.authoring.arguments.COMMON`). ``__init_subclass__`` wraps each ``__init__``, so that ``default_args`` can
fill the parameters of *every* level and an error names the missing ones. The wrapper of the outermost ``__init__`` also
finds the DAG and group that the task joins and the line of the user's file, and sets edges from the tasks whose results
are arguments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from nbflow.authoring import current_dag
from nbflow.authoring.arguments import COMMON, HOOKS, KNOWN, OLD, STRUCTURE, unknown_argument, warn_deprecated
from nbflow.authoring.edges import Linkable, link_tasks
from nbflow.authoring.identifiers import check_key
from nbflow.authoring.xcomarg import PlainXComArg, XComArg, references
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import InvalidArgument, InvalidDag, TaskDeferred

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.expansion import ExpandInput
    from nbflow.authoring.mapping import OperatorPartial
    from nbflow.authoring.taskgroup import MappedTaskGroup, TaskGroup

_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY, _VAR_KEYWORD = 1, 3, 4  # values of inspect's parameter kinds


class TaskNode(Linkable):
    """A task of a DAG: an operator or a mapped operator. Edges are sets of task ids."""

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
    def roots(self) -> tuple[TaskNode, ...]:
        return (self,)

    @property
    def leaves(self) -> tuple[TaskNode, ...]:
        return (self,)

    @property
    def upstream_list(self) -> list[TaskNode]:
        return self._tasks(self.upstream_task_ids)

    @property
    def downstream_list(self) -> list[TaskNode]:
        return self._tasks(self.downstream_task_ids)

    def _tasks(self, ids: set[str]) -> list[TaskNode]:
        return [self.dag.task_dict[task_id] for task_id in sorted(ids)] if self.dag is not None else []

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        return self.upstream_task_ids if upstream else self.downstream_task_ids

    def get_direct_relatives(self, upstream: bool = False) -> list[TaskNode]:
        return self.upstream_list if upstream else self.downstream_list

    def get_flat_relative_ids(self, *, upstream: bool = False) -> set[str]:
        """Ids of all tasks upstream (or downstream) of this one."""
        seen: set[str] = set()
        pending = [self]
        while pending:
            for task in pending.pop().get_direct_relatives(upstream):
                if task.task_id not in seen:
                    seen.add(task.task_id)
                    pending.append(task)
        return seen

    def get_flat_relatives(self, upstream: bool = False) -> list[TaskNode]:
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
        check_key(task_id, "task_id")
        self.task_id = group.child_id(task_id) if group is not None else task_id
        if group is not None:
            check_key(self.task_id, "task_id")
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

    def as_setup(self) -> TaskNode:
        """Mark the task as a setup; see Airflow's setup and teardown."""
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> TaskNode:
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

    def __enter__(self) -> TaskNode:
        self.open_scope((self,))
        return self

    def __exit__(self, *error: object) -> None:
        self.close_scope(failed=error[0] is not None)

    def open_scope(self, tasks: Sequence[TaskNode]) -> None:
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
        setattr(TaskNode, _name, _argument.default)


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
    seen: set[str] = set()
    for cls in kind.__mro__:
        init = cls.__dict__.get("__init__")
        required |= getattr(init, "required", frozenset()) - seen
        seen |= getattr(init, "names", frozenset())
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


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap an ``__init__``: it accepts keyword arguments only, ``default_args`` fill them, and an error names those
    that are missing."""
    from inspect import signature

    parameters = list(signature(init).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY)]
    names = frozenset(p.name for p in named)
    required = frozenset(p.name for p in named if p.default is p.empty)
    takes_more = any(p.kind == _VAR_KEYWORD for p in parameters)

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        defaults = self.__dict__.get("_init_defaults")
        if defaults is None:
            _construct(self, init_here, args, kwargs)
            return
        for name in names & defaults.keys():
            kwargs.setdefault(name, defaults[name])
        if not kwargs.keys() >= required and not args:
            unknown = kwargs.keys() - argument_names(type(self))
            raise missing_arguments(type(self).__name__, required - kwargs.keys(), unknown)
        if not takes_more and not kwargs.keys() <= names:
            raise unknown_argument(type(self).__name__, kwargs.keys() - names, argument_names(type(self)))
        init(self, *args, **kwargs)

    init_here: Any = __init__
    init_here.names, init_here.required, init_here.open = names, required, takes_more
    init_here.defaults = {p.name: p.default for p in named if p.default is not p.empty}
    return init_here


def missing_arguments(operator: str, missing: Collection[str], unknown: Collection[str] = ()) -> InvalidArgument:
    """The error for required arguments that were not passed to ``operator``. ``unknown``: arguments that were passed
    but do not exist; often the misspelt name of a missing one."""
    plural = "s" if len(missing) > 1 else ""
    passed = f" It has no argument {', '.join(map(repr, sorted(unknown)))}, which was passed." if unknown else ""
    return InvalidArgument(f"{operator} is missing the argument{plural} {', '.join(sorted(missing))}.{passed}")


def _construct(task: BaseOperator, init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run the outermost ``__init__`` of an operator: find its DAG and group, run ``init``, set the edges of its
    arguments."""
    if args:
        raise InvalidArgument(
            f"{type(task).__name__} takes keyword arguments only, but got the positional argument {args[0]!r}.",
            hint="Write task_id=..., and so on.",
        )
    state = task.__dict__
    if "_unmapped_from" in state:  # the operator of one map index, created at run time, joins no DAG
        state["_init_defaults"] = {}
        try:
            init(task, **kwargs)
        finally:
            del state["_init_defaults"]
        return
    dag, group = resolve_dag_and_group(kwargs)
    state["place"] = current_dag.place(2)
    state["_init_defaults"] = defaults_for(dag, group, kwargs.pop("default_args", None))
    state["_dag_and_group"] = dag, group
    try:
        init(task, **kwargs)
        if "task_id" not in state:
            raise InvalidDag(f"{type(task).__name__}.__init__() must call super().__init__(**kwargs).")
    except BaseException:
        if task.dag is not None:
            task.dag.forget_task(task)
        raise
    finally:
        del state["_init_defaults"]
        state.pop("_dag_and_group", None)
    for name, value in kwargs.items():
        if value.__class__ not in _WITHOUT_REFERENCES and task.add_reference_edges(value):
            _warn_of_unresolved(task, name, value)
    current_dag.record_task(task)


_WITHOUT_REFERENCES = frozenset({str, int, float, bool, type(None), timedelta, type(_checked), type})


def _warn_of_unresolved(task: BaseOperator, name: str, value: Any) -> None:
    """Warn of a reference outside of template fields: only there it is replaced by its value before ``execute``."""
    fields = (getattr(task, field, None) for field in task.template_fields)
    resolved = {id(reference) for field in fields for reference in references(field)}
    if any(id(reference) not in resolved for reference in references(value)):
        current_dag.warn(
            f"{name} of task {task.task_id!r} is the result of another task, but is not in template_fields of "
            f"{task.task_type}, so execute() will get the reference instead of the value.",
            at=task.place,
        )


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


def defaults_for(dag: DAG | None, group: TaskGroup | None, own: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """``default_args`` of the DAG, overridden by those of the groups from outside in, then by the task's ``own``."""
    defaults: Mapping[str, Any] = group.all_default_args if group is not None else dag.default_args if dag else {}
    if own is not None and not isinstance(own, Mapping):
        raise InvalidArgument(f"default_args must be a dict, not {type(own).__name__} {own!r}.")
    return {**defaults, **own} if own else defaults


class _AllArguments:
    """The signature that ``help`` and completion show: the operator's own arguments, those of its bases, then the
    common ones."""

    def __get__(self, instance: Any, owner: type) -> Any:
        from inspect import Parameter, Signature, signature

        parameters: dict[str, Parameter] = {}
        for cls in owner.__mro__:
            if (init := cls.__dict__.get("__init__")) is not None and hasattr(init, "names"):
                for parameter in signature(init).parameters.values():
                    if parameter.name in init.names:
                        parameters.setdefault(parameter.name, parameter.replace(kind=Parameter.KEYWORD_ONLY))
        for name, argument in COMMON.items():
            parameters.setdefault(name, Parameter(name, Parameter.KEYWORD_ONLY, default=argument.default))
        return Signature(sorted(parameters.values(), key=lambda p: p.name != "task_id"))


class BaseOperator(TaskNode):
    """Base of all operators. Subclasses define :meth:`execute`, and usually ``__init__`` and ``template_fields``.

    ``template_fields`` names the attributes that hold templates, ``template_ext`` the suffixes of template files,
    ``ui_color`` and ``ui_fgcolor`` the colours in the graph.
    """

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[Mapping[str, str]] = {}
    ui_color: str = "#fff"
    ui_fgcolor: str = "#000"
    deferrable: bool = False
    __signature__ = _AllArguments()

    _pre_execute_hook: Callable[[Any], None] | None = None
    _post_execute_hook: Callable[[Any, Any], None] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(cls.template_fields, str):
            field = cls.template_fields
            current_dag.warn(f"template_fields of {cls.__name__} is the string {field!r}; write ({field!r},).")
            cls.template_fields = (field,)
        if not hasattr(cls.__init__, "names"):  # the class's own __init__, or that of a mixin before BaseOperator
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, *, task_id: str, **kwargs: Any) -> None:
        defaults = self.__dict__["_init_defaults"]
        for name in defaults.keys() & KNOWN:
            if name not in kwargs and name not in STRUCTURE:
                kwargs[name] = defaults[name]
        for name in STRUCTURE & kwargs.keys():
            del kwargs[name]
        dag, group = self.__dict__.get("_dag_and_group", (None, None))
        if "_unmapped_from" in self.__dict__:
            self.task_id = task_id
            self._read_common(kwargs)
        else:
            self._join(task_id, kwargs, dag, group)

    __init__ = _checked(__init__)  # type: ignore[method-assign]

    # --- running: run_try calls pre_execute, execute and post_execute in this order

    def pre_execute(self, context: Any) -> None:
        """Called before :meth:`execute`, after templates are rendered."""
        if self._pre_execute_hook is not None:
            self._pre_execute_hook(context)

    def execute(self, context: Any) -> Any:
        """Run the task; the return value is pushed as XCom."""
        raise NotImplementedError(f"{self.task_type} must define execute(self, context).")

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Called after :meth:`execute`, with its return value."""
        if self._post_execute_hook is not None:
            self._post_execute_hook(context, result)

    def on_kill(self) -> None:
        """Called in the task's process when the attempt is terminated: release resources that would outlive it."""

    def defer(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: Mapping[str, Any] | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        """Release the pool slot until ``trigger`` fires; the task then resumes in
        ``method_name(context, event=..., **kwargs)``."""
        raise TaskDeferred(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout)

    def prepare_for_execution(self) -> BaseOperator:
        """A shallow copy, whose fields can be rendered without changing the DAG's operator."""
        return copy.copy(self)

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> Mapping[str, Any] | None:
        """Render ``template_fields`` in place. Returns the fields that rendering changed."""
        from nbflow.authoring.templating import render_fields

        return render_fields(self, context, dag=self.dag, env=jinja_env)

    def render_template(self, content: Any, context: Any, jinja_env: Any = None) -> Any:
        """``content`` with every template in it rendered."""
        from nbflow.authoring.templating import render

        return render(content, context, dag=self.dag, env=jinja_env, template_ext=self.template_ext)

    @staticmethod
    def xcom_push(context: Any, key: str, value: Any) -> None:
        """Airflow 2's way; Airflow 3 has ``context["ti"].xcom_push(key, value)``."""
        context["ti"].xcom_push(key=key, value=value)

    @staticmethod
    def xcom_pull(context: Any, **kwargs: Any) -> Any:
        """Airflow 2's way; Airflow 3 has ``context["ti"].xcom_pull(...)``."""
        return context["ti"].xcom_pull(**kwargs)

    @property
    def log(self) -> Any:
        """The task's logger; it writes to the log of the try."""
        import logging

        return logging.getLogger(self.logger_name or f"nbflow.task.{type(self).__name__}")

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Pass the arguments that all map indexes share; ``.expand(...)`` takes those that differ."""
        from nbflow.authoring.mapping import OperatorPartial

        return OperatorPartial(cls, kwargs)

    def iter_mapped_dependencies(self) -> Iterator[TaskNode]:
        """The tasks whose results this one is mapped over; none for an unmapped task."""
        return iter(())
