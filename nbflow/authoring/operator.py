"""The base of all operators.

Creating an operator
--------------------
An operator declares its own arguments as keyword parameters of a normal ``__init__`` and passes the rest to
``super().__init__(**kwargs)``; :class:`BaseOperator` takes the common arguments
(:data:`nbflow.authoring.task_arguments.COMMON`). ``__init_subclass__`` wraps each ``__init__``, so that
``default_args`` can fill the parameters of *every* level and an error names the missing ones. The wrapper of the
outermost ``__init__`` also finds the DAG and group that the task joins and the line of the user's file, and sets edges
from the tasks whose results are arguments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from nbflow.authoring import current_dag
from nbflow.authoring.abstract_operator import AbstractOperator
from nbflow.authoring.default_args import defaults_for, resolve_dag_and_group
from nbflow.authoring.mapped_operator import OperatorPartial
from nbflow.authoring.operator_signature import argument_names, missing_arguments
from nbflow.authoring.task_arguments import COMMON, KNOWN, STRUCTURE, unknown_argument
from nbflow.authoring.xcomarg import references
from nbflow.errors import InvalidArgument, InvalidDag, TaskDeferred

if TYPE_CHECKING:
    pass

_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY, _VAR_KEYWORD = 1, 3, 4  # values of inspect's parameter kinds


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
            _construct(self, wrapper, args, kwargs)
            return
        for name in names & defaults.keys():
            kwargs.setdefault(name, defaults[name])
        if not kwargs.keys() >= required and not args:
            unknown = kwargs.keys() - argument_names(type(self))
            raise missing_arguments(type(self).__name__, required - kwargs.keys(), unknown)
        if not takes_more and not kwargs.keys() <= names:
            raise unknown_argument(type(self).__name__, kwargs.keys() - names, argument_names(type(self)))
        init(self, *args, **kwargs)

    wrapper: Any = __init__
    wrapper.names, wrapper.required, wrapper.open = names, required, takes_more
    wrapper.defaults = {p.name: p.default for p in named if p.default is not p.empty}
    return wrapper


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


class BaseOperator(AbstractOperator):
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
        return OperatorPartial(cls, kwargs)

    def iter_mapped_dependencies(self) -> Iterator[AbstractOperator]:
        """The tasks whose results this one is mapped over; none for an unmapped task."""
        return iter(())
