"""Tasks: what every one of them has (:class:`TaskNode`), and the base of all operators (:class:`BaseOperator`).

Making an operator
------------------
An operator declares its own arguments as keyword parameters of a normal ``__init__`` and hands the rest to
``super().__init__(**kwargs)``; the common ones (:data:`nbflow.authoring.arguments.COMMON`) end up in
:class:`BaseOperator`. ``__init_subclass__`` wraps each ``__init__``, so that at *every* level the parameters it names
can come from ``default_args``, and a missing one is named. The outermost call also knows which DAG and group the task
joins, where in the user's file it stands, and which of its arguments are results of other tasks: those become edges.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from nbflow.authoring import current_dag
from nbflow.authoring.arguments import COMMON, HOOKS, KNOWN, OLD, STRUCTURE, unknown_argument, warn_old
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
    """One task of a DAG: an operator, or a mapped one. Holds its edges as sets of task ids."""

    task_id: str
    dag: DAG | None = None
    task_group: TaskGroup | None = None
    place: current_dag.Place | None = None
    """The line of the user's file that made it."""
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    expand_input: ExpandInput | None = None
    """What it is mapped over."""
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    template_fields: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"

    # --- who it is

    @property
    def task_type(self) -> str:
        """Class name of the operator."""
        return type(self).__name__

    @property
    def operator_name(self) -> str:
        """Name for people: the class, or ``@task``."""
        return getattr(self.operator_class, "custom_operator_name", None) or self.task_type

    @property
    def node_id(self) -> str:
        return self.task_id

    @property
    def dag_id(self) -> str:
        return self.dag.dag_id if self.dag is not None else f"adhoc_{self.owner}"

    @property
    def label(self) -> str:
        """The id without the prefix of its groups."""
        group = self.task_group
        prefix = group.prefix if group is not None else ""
        return self.task_id.removeprefix(prefix)

    @property
    def is_mapped(self) -> bool:
        return self.expand_input is not None

    @property
    def mapped_group(self) -> MappedTaskGroup | None:
        """The innermost mapped group around it."""
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
        """Ids of all tasks before (or after) this one."""
        seen: set[str] = set()
        todo = [self]
        while todo:
            for task in todo.pop().get_direct_relatives(upstream):
                if task.task_id not in seen:
                    seen.add(task.task_id)
                    todo.append(task)
        return seen

    def get_flat_relatives(self, upstream: bool = False) -> list[TaskNode]:
        return self._tasks(self.get_flat_relative_ids(upstream=upstream))

    @cached_property
    def output(self) -> XComArg:
        """Its return value, as an argument for other tasks."""
        return PlainXComArg(self)

    def wire(self, value: Any) -> bool:
        """Set the edges from the tasks whose results ``value`` holds to this one; returns whether it holds any."""
        found = None
        for found in references(value):
            ups = [up for up in found.operators if up is not self and up.task_id not in self.upstream_task_ids]
            if ups:
                link_tasks(ups, (self,))
        return found is not None

    # --- joining a DAG

    def _settle(self, task_id: Any, common: Mapping[str, Any], dag: DAG | None, group: TaskGroup | None) -> None:
        """Take the full id, read the common arguments, and join the DAG and group (None: a bare task, which an edge or
        ``add_task`` may adopt)."""
        check_key(task_id, "task_id")
        self.task_id = group.child_id(task_id) if group is not None else task_id
        if group is not None:
            check_key(self.task_id, "task_id")
        self.upstream_task_ids = set()
        self.downstream_task_ids = set()
        self._read_common(common)
        if dag is not None:
            dag.add_task(self, group)

    def _read_common(self, given: Mapping[str, Any]) -> None:
        """Check the common arguments that were given, and keep them."""
        state, whose = self.__dict__, f"task {self.task_id!r}"
        unknown: list[str] = []
        for name, value in given.items():
            known = COMMON.get(name)
            if known is None:
                if name not in OLD:
                    unknown.append(name)
                    continue
                today = OLD[name]
                warn_old(f"{name} of {whose}", today)
                if today is None:
                    continue
                name, known = today, COMMON[today]
            if known.read is not None:
                value = known.read(name, value, whose)
            if name in HOOKS:
                state[f"_{name}_hook"] = value
            elif value is not None or known.default is None:
                state[name] = value
        if unknown:
            raise unknown_argument(f"{self.task_type} ({whose})", unknown, argument_names(self.operator_class))
        if self.wait_for_downstream:
            self.depends_on_past = True

    @property
    def operator_class(self) -> type:
        """The operator's class, of a mapped one too."""
        return type(self)

    # --- setup and teardown

    def as_setup(self) -> TaskNode:
        """Let the task prepare what others need; see Airflow's setup and teardown."""
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> TaskNode:
        """Let the task clean up after ``setups``: it runs whatever happened between, if a setup succeeded."""
        self.is_teardown = True
        self.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
        if on_failure_fail_dagrun is not None:
            self.on_failure_fail_dagrun = on_failure_fail_dagrun
        if setups is not None:
            for one in setups if isinstance(setups, Sequence) else (setups,):
                one.as_setup()
                one.set_downstream(self)
        return self

    def __enter__(self) -> TaskNode:
        self.open_scope((self,))
        return self

    def __exit__(self, *error: object) -> None:
        self.close_scope(failed=error[0] is not None)

    def open_scope(self, tasks: Sequence[TaskNode]) -> None:
        """``with teardown:`` (or a setup): tasks made inside come between its setups and it."""
        for task in tasks:
            if not (task.is_setup or task.is_teardown):
                raise InvalidDag(
                    f"`with` needs a setup or a teardown, and {task.task_id!r} is neither.",
                    hint="Call .as_teardown(setups=...) on it.",
                )
        current_dag.push(current_dag.current_dag() or self.dag, current_dag.current_group() or self.task_group, [])

    def close_scope(self, *, failed: bool) -> None:
        made = current_dag.pop().made or []
        if failed or not made:
            return
        inside = {task.task_id for task in made}
        first = [task for task in made if task.upstream_task_ids.isdisjoint(inside)]
        last = [task for task in made if task.downstream_task_ids.isdisjoint(inside)]
        setups = [self] if self.is_setup else [task for task in self.upstream_list if task.is_setup]
        teardowns = [self] if self.is_teardown else [task for task in self.downstream_list if task.is_teardown]
        link_tasks(setups, first)
        link_tasks(last, teardowns)

    if TYPE_CHECKING:  # the common arguments, set below from their table
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
    """Every argument that an operator class takes: its own, its bases' and the common ones."""
    found = _names.get(kind)
    if found is None:
        inits = (cls.__dict__.get("__init__") for cls in kind.__mro__)
        found = _names[kind] = KNOWN.union(*(getattr(init, "names", ()) for init in inits))
    return found


_names: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def required_names(kind: type) -> frozenset[str]:
    """Those of :func:`argument_names` that have no default at the outermost level that names them."""
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
    """The default of an operator's own argument. Raises AttributeError where there is none."""
    for cls in kind.__mro__:
        defaults = getattr(cls.__dict__.get("__init__"), "defaults", {})
        if name in defaults:
            return defaults[name]
    raise AttributeError(f"{kind.__name__} has no argument {name!r} with a default")


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    """An ``__init__`` that takes keyword arguments only, fills them from ``default_args`` and names what is missing."""
    from inspect import signature

    parameters = list(signature(init).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY)]
    names = frozenset(p.name for p in named)
    required = frozenset(p.name for p in named if p.default is p.empty)
    takes_more = any(p.kind == _VAR_KEYWORD for p in parameters)

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        making = self.__dict__.get("_making")
        if making is None:
            _make(self, init_here, args, kwargs)
            return
        for name in names & making.keys():
            kwargs.setdefault(name, making[name])
        if not kwargs.keys() >= required and not args:
            _refuse_missing(self, required - kwargs.keys(), kwargs.keys() - argument_names(type(self)))
        if not takes_more and not kwargs.keys() <= names:
            raise unknown_argument(type(self).__name__, kwargs.keys() - names, argument_names(type(self)))
        init(self, *args, **kwargs)

    init_here: Any = __init__
    init_here.names, init_here.required, init_here.open = names, required, takes_more
    init_here.defaults = {p.name: p.default for p in named if p.default is not p.empty}
    return init_here


def _refuse_missing(task: Any, missing: frozenset[str], unknown: Collection[str]) -> None:
    """``unknown``: what it was given and does not have; most often one of the missing, misspelt."""
    words = ", ".join(sorted(missing))
    given = f" It has no argument {', '.join(map(repr, sorted(unknown)))}, which it got." if unknown else ""
    many = "s" if len(missing) > 1 else ""
    raise InvalidArgument(f"{type(task).__name__} is missing its argument{many} {words}.{given}")


def _make(task: BaseOperator, init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The outermost ``__init__`` of an operator: find its DAG and group, build it, set the edges of its arguments."""
    if args:
        raise InvalidArgument(
            f"{type(task).__name__} takes keyword arguments only, and got {args[0]!r} without a name.",
            hint="Write task_id=..., and so on.",
        )
    state = task.__dict__
    if "_unmapped_from" in state:  # one map index of a mapped operator, at run time: it joins nothing
        state["_making"] = {}
        try:
            init(task, **kwargs)
        finally:
            del state["_making"]
        return
    dag, group = find_home(kwargs)
    state["place"] = current_dag.place(2)
    state["_making"] = defaults_for(dag, group, kwargs.pop("default_args", None))
    state["_home"] = dag, group
    try:
        init(task, **kwargs)
        if "task_id" not in state:
            raise InvalidDag(f"{type(task).__name__}.__init__() must call super().__init__(**kwargs).")
    except BaseException:
        if task.dag is not None:
            task.dag.forget_task(task)
        raise
    finally:
        del state["_making"]
        state.pop("_home", None)
    for name, value in kwargs.items():
        if value.__class__ not in _EDGELESS and task.wire(value):
            _warn_of_unresolved(task, name, value)
    current_dag.note_task(task)


_EDGELESS = frozenset({str, int, float, bool, type(None), timedelta, type(_checked), type})


def _warn_of_unresolved(task: BaseOperator, name: str, value: Any) -> None:
    """A result takes its value's place in template fields only: elsewhere ``execute`` would meet the reference."""
    fields = (getattr(task, field, None) for field in task.template_fields)
    held = {id(found) for field in fields for found in references(field)}
    if any(id(found) not in held for found in references(value)):
        current_dag.warn(
            f"{name} of task {task.task_id!r} takes the result of another task, but is not in template_fields of "
            f"{task.task_type}: execute() will see the reference, not its value.",
            at=task.place,
        )


def find_home(kwargs: dict[str, Any]) -> tuple[DAG | None, TaskGroup | None]:
    """The DAG and group that a new task joins: what its arguments say, else the open ``with``, else none."""
    dag, group = kwargs.pop("dag", None), kwargs.pop("task_group", None)
    if dag is not None and not hasattr(dag, "add_task"):
        raise InvalidArgument(f"dag must be a DAG, not {type(dag).__name__} {dag!r}.")
    if group is not None and not hasattr(group, "child_id"):
        raise InvalidArgument(f"task_group must be a TaskGroup, not {type(group).__name__} {group!r}.")
    if group is not None:
        if dag is not None and group.dag is not dag:
            raise InvalidDag(
                f"dag is {dag.dag_id!r}, and the task_group {group.group_id!r} is of {group.dag.dag_id!r}."
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
    """``default_args`` of the DAG, of the groups from outside in, and of the task itself."""
    defaults: Mapping[str, Any] = group.all_default_args if group is not None else dag.default_args if dag else {}
    if own is not None and not isinstance(own, Mapping):
        raise InvalidArgument(f"default_args must be a dict, not {type(own).__name__} {own!r}.")
    return {**defaults, **own} if own else defaults


class _AllArguments:
    """What ``help`` and completion show of an operator: its own arguments, its bases', then the common ones."""

    def __get__(self, instance: Any, owner: type) -> Any:
        from inspect import Parameter, Signature, signature

        shown: dict[str, Parameter] = {}
        for cls in owner.__mro__:
            if (init := cls.__dict__.get("__init__")) is not None and hasattr(init, "names"):
                for parameter in signature(init).parameters.values():
                    if parameter.name in init.names:
                        shown.setdefault(parameter.name, parameter.replace(kind=Parameter.KEYWORD_ONLY))
        for name, argument in COMMON.items():
            shown.setdefault(name, Parameter(name, Parameter.KEYWORD_ONLY, default=argument.default))
        return Signature(sorted(shown.values(), key=lambda p: p.name != "task_id"))


class BaseOperator(TaskNode):
    """Base of all operators. Subclasses define :meth:`execute`, and usually ``__init__`` and ``template_fields``.

    ``template_fields`` names the attributes that hold templates, ``template_ext`` the endings of template files,
    ``ui_color`` and ``ui_fgcolor`` how the graph draws it.
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
            current_dag.warn(f"template_fields of {cls.__name__} is the text {field!r}: write ({field!r},).")
            cls.template_fields = (field,)
        if not hasattr(cls.__init__, "names"):  # its own, or a mix-in's that stands before BaseOperator's
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, *, task_id: str, **kwargs: Any) -> None:
        making = self.__dict__["_making"]
        for name in making.keys() & KNOWN:
            if name not in kwargs and name not in STRUCTURE:
                kwargs[name] = making[name]
        for name in STRUCTURE & kwargs.keys():
            del kwargs[name]
        dag, group = self.__dict__.get("_home", (None, None))
        if "_unmapped_from" in self.__dict__:
            self.task_id = task_id
            self._read_common(kwargs)
        else:
            self._settle(task_id, kwargs, dag, group)

    __init__ = _checked(__init__)  # type: ignore[method-assign]

    # --- running it: who runs tasks calls pre_execute, execute and post_execute in this order

    def pre_execute(self, context: Any) -> None:
        """Called before :meth:`execute`, after templates are rendered."""
        if self._pre_execute_hook is not None:
            self._pre_execute_hook(context)

    def execute(self, context: Any) -> Any:
        """Do the work; what it returns is pushed as XCom."""
        raise NotImplementedError(f"{self.task_type} must define execute(self, context).")

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Called after :meth:`execute` returned, with what it returned."""
        if self._post_execute_hook is not None:
            self._post_execute_hook(context, result)

    def on_kill(self) -> None:
        """Called in the task's process when the attempt is ended from outside: free what would outlive it."""

    def defer(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: Mapping[str, Any] | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        """Give the slot back until ``trigger`` fires; ``method_name(context, event=..., **kwargs)`` goes on then."""
        raise TaskDeferred(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout)

    def prepare_for_execution(self) -> BaseOperator:
        """A shallow copy, whose fields may be rendered without touching the DAG's own."""
        return copy.copy(self)

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> Mapping[str, Any] | None:
        """Render ``template_fields`` in place; returns those that rendering changed."""
        from nbflow.authoring.templating import render_fields

        return render_fields(self, context, dag=self.dag, env=jinja_env)

    def render_template(self, content: Any, context: Any, jinja_env: Any = None) -> Any:
        """``content`` with every template in it rendered."""
        from nbflow.authoring.templating import render

        return render(content, context, dag=self.dag, env=jinja_env, template_ext=self.template_ext)

    @staticmethod
    def xcom_push(context: Any, key: str, value: Any) -> None:
        """Of Airflow 2; today: ``context["ti"].xcom_push(key, value)``."""
        context["ti"].xcom_push(key=key, value=value)

    @staticmethod
    def xcom_pull(context: Any, **kwargs: Any) -> Any:
        """Of Airflow 2; today: ``context["ti"].xcom_pull(...)``."""
        return context["ti"].xcom_pull(**kwargs)

    @property
    def log(self) -> Any:
        """The task's logger: what it writes is the log of the try."""
        import logging

        return logging.getLogger(self.logger_name or f"nbflow.task.{type(self).__name__}")

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """The arguments that all map indexes share; ``.expand(...)`` gives those that differ."""
        from nbflow.authoring.mapping import OperatorPartial

        return OperatorPartial(cls, kwargs)

    def iter_mapped_dependencies(self) -> Iterator[TaskNode]:
        """The tasks whose results this one is mapped over: none, for a plain task."""
        return iter(())
