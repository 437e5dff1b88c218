"""``@task``, ``@task.branch`` and the other task decorators: calling the decorated function adds a task to the DAG.

``TASK_DECORATORS`` is the table of the decorators: ``@task.branch`` is the row ``branch``. A row names the operator's
module, so a DAG imports only the operators that it uses. An operator that can decorate a function has the arguments
``python_callable``, ``op_args`` and ``op_kwargs``. ``NOT_AVAILABLE`` lists Airflow's decorators that nbflow lacks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from importlib import import_module
from inspect import Parameter, Signature, isclass, signature
from typing import Any, NamedTuple, get_origin, get_type_hints, is_typeddict

from nbflow.authoring.context import NAMES as CONTEXT_NAMES
from nbflow.authoring.context import inside_a_task
from nbflow.authoring.default_args import resolve_dag_and_group
from nbflow.authoring.edges import Linkable
from nbflow.authoring.expand_input import DictOfLists, ExpandInput, ListOfDicts
from nbflow.authoring.mapped_operator import MappedOperator, Partial
from nbflow.authoring.operator import BaseOperator
from nbflow.authoring.operator_signature import argument_names
from nbflow.authoring.task_arguments import unknown_argument
from nbflow.authoring.taskgroup import TaskGroupFactory
from nbflow.authoring.xcomarg import PlainXComArg, XComArg
from nbflow.errors import AirflowSkipException, InvalidArgument, InvalidDag, did_you_mean


class OperatorPath(NamedTuple):
    """Module and class name of a decorator's operator."""

    module: str
    name: str

    def load(self) -> type[BaseOperator]:
        operator_class: type[BaseOperator] = getattr(import_module(self.module), self.name)
        return operator_class


TASK_DECORATORS: Mapping[str, OperatorPath] = {
    "python": OperatorPath("nbflow.operators.python", "DecoratedPythonOperator"),
    "branch": OperatorPath("nbflow.operators.python", "DecoratedBranchPythonOperator"),
    "short_circuit": OperatorPath("nbflow.operators.python", "DecoratedShortCircuitOperator"),
    "sensor": OperatorPath("nbflow.sensors.python", "DecoratedPythonSensor"),
    "bash": OperatorPath("nbflow.operators.bash", "DecoratedBashOperator"),
    "notebook": OperatorPath("nbflow.operators.notebook", "DecoratedNotebookOperator"),
}
"""``@task.<name>`` -> its operator."""

NOT_AVAILABLE = frozenset(
    {"virtualenv", "external_python", "branch_virtualenv", "branch_external_python"}
    | {"docker", "kubernetes", "kubernetes_cmd", "pyspark", "sql", "llm", "agent"}
)
"""Airflow's decorators that this release does not have."""

_FUNCTION_ARGUMENTS = frozenset({"python_callable", "op_args", "op_kwargs"})


class TaskFactory:
    """A function decorated with ``@task``: each call adds a task and returns a reference to its result, which other
    tasks take as an argument."""

    def __init__(self, function: Callable[..., Any], decorator: str, kwargs: Mapping[str, Any]) -> None:
        if (
            isinstance(function, Linkable | TaskFactory | TaskGroupFactory)
            or isclass(function)
            or not callable(function)
        ):
            raise InvalidArgument(
                f"@{_shown(decorator)} decorates a function, not {function!r}.",
                hint="Put one decorator of the @task family on the function itself.",
            )
        self.function, self.decorator = function, decorator
        self.operator_class = TASK_DECORATORS[decorator].load()
        known = argument_names(self.operator_class) - _FUNCTION_ARGUMENTS
        if not kwargs.keys() <= known:
            raise unknown_argument(f"@{_shown(decorator)}", kwargs.keys() - known, known)
        self.kwargs = dict(kwargs)
        self.kwargs.setdefault("task_id", function.__name__)
        self.is_setup = self.is_teardown = False
        self.on_failure_fail_dagrun = False
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@{_shown(self.decorator)} {self.kwargs['task_id']}>"

    @cached_property
    def signature(self) -> Signature:
        """The function's signature, in which parameters filled from the context are optional."""
        function_signature = signature(self.function)
        parameters = []
        for parameter in function_signature.parameters.values():
            if parameter.name in CONTEXT_NAMES:
                if parameter.default not in (None, Parameter.empty):
                    raise InvalidDag(
                        f"{parameter.name} of {self!r} is filled from the context, so its only default can be None."
                    )
                parameter = parameter.replace(default=None)
            parameters.append(parameter)
        try:
            return function_signature.replace(parameters=parameters)
        except ValueError:  # a parameter without default follows one that is filled from the context
            return function_signature.replace(
                parameters=[
                    p.replace(kind=p.KEYWORD_ONLY) if p.kind is p.POSITIONAL_OR_KEYWORD else p for p in parameters
                ]
            )

    @cached_property
    def multiple_outputs(self) -> bool:
        """Whether the function's return annotation is a dict."""
        annotation = getattr(self.function, "__annotations__", {}).get("return")
        if isinstance(annotation, str):
            try:
                annotation = get_type_hints(self.function).get("return")
            except Exception:  # a name that only a type checker can resolve; Airflow assumes False, too
                return False
        origin = get_origin(annotation) or annotation
        return is_typeddict(origin) or (isclass(origin) and issubclass(origin, Mapping))

    # --- creating tasks

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self._bind(args, kwargs)
        options = self._options()
        options["op_args"], options["op_kwargs"] = args, kwargs
        new_task = self.operator_class(python_callable=self.function, **options)
        if new_task.dag is None and inside_a_task():
            logging.getLogger("nbflow.task").warning(
                "%r was called inside a running task, which neither adds a task nor runs the function. To run the "
                "function, call %s.function(...); to add a task, call it where the DAG is defined.",
                self,
                self.function.__name__,
            )
        return self._result_of(new_task)

    def override(self, **kwargs: Any) -> TaskFactory:
        """The same function with other task arguments."""
        return self._with_arguments({**self.kwargs, **kwargs})

    def partial(self, **kwargs: Any) -> TaskPartial:
        """Pass arguments of the function that all map indexes share; ``.expand(...)`` takes those that differ."""
        self._check_names(kwargs.keys(), "partial()")
        return TaskPartial(self, kwargs)

    def expand(self, **mapped: Any) -> XComArg:
        """Map the task: one instance for each item, or for each combination of the items of several arguments."""
        return self.expand_over(DictOfLists(mapped), {}, strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Map the task: one instance for each dict of arguments."""
        return self.expand_over(ListOfDicts(kwargs), {}, strict=strict)

    def expand_over(self, expand_input: ExpandInput, shared: Mapping[str, Any], *, strict: bool) -> XComArg:
        names = expand_input.names()
        if names is not None:
            self._check_names(names, "expand()")
            if strict and (duplicates := names & shared.keys()):
                raise InvalidArgument(f"{self!r}.expand() got {sorted(duplicates)}, which partial() has already.")
            self._bind((), {**shared, **dict.fromkeys(names)})
        options = {**self._options(), "python_callable": self.function, "op_kwargs": dict(shared)}
        mapped = MappedOperator(self.operator_class, options, expand_input, strict=strict, into="op_kwargs")
        return self._result_of(mapped)

    def _options(self) -> dict[str, Any]:
        """The task's arguments, with a task id that is unique in the DAG: the second call of f adds task f__1."""
        options = dict(self.kwargs)
        dag, group = resolve_dag_and_group(dict(options))
        task_id = options["task_id"]
        if dag is not None and group is not None and isinstance(task_id, str):
            options["task_id"] = dag.free_id(group.child_id(task_id)).removeprefix(group.prefix)
        if "multiple_outputs" not in options and self.multiple_outputs:
            options["multiple_outputs"] = True
        if self.function.__doc__ and not any(name.startswith("doc") for name in options):
            options["doc_md"] = self.function.__doc__
        return options

    def _result_of(self, task: Any) -> XComArg:
        """A reference to the task's result; marks the task as setup or teardown first."""
        if self.is_setup:
            task.as_setup()
        if self.is_teardown:
            task.as_teardown(on_failure_fail_dagrun=self.on_failure_fail_dagrun)
        return PlainXComArg(task)

    def _with_arguments(self, kwargs: Mapping[str, Any]) -> TaskFactory:
        factory = TaskFactory(self.function, self.decorator, kwargs)
        factory.is_setup, factory.is_teardown = self.is_setup, self.is_teardown
        factory.on_failure_fail_dagrun = self.on_failure_fail_dagrun
        return factory

    # --- checks

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            suggestion = ""
            if unknown := kwargs.keys() - self.signature.parameters.keys():
                suggestion = did_you_mean(min(unknown), self.signature.parameters)
            by_keyword = [p.name for p in self.signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
            from_context = [name for name in signature(self.function).parameters if name in CONTEXT_NAMES]
            if args and from_context and by_keyword and not suggestion:
                suggestion = (
                    f" {from_context[0]} is a key of the context, which fills it: pass the arguments by keyword "
                    f"({by_keyword[0]}=...), or rename the parameter."
                )
            raise InvalidArgument(f"{self!r}: {error}.{suggestion}") from None
        for value in (*args, *kwargs.values()):
            if isinstance(value, TaskFactory):
                raise InvalidArgument(
                    f"{self!r} got the function {value!r} itself, not its result.",
                    hint=f"Call it: {value.function.__name__}().",
                )

    def _check_names(self, names: Any, where: str) -> None:
        parameters = self.signature.parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        if unknown := set(names) - parameters.keys():
            raise unknown_argument(f"{self!r}.{where}", unknown, parameters)


class TaskPartial(Partial):
    """The result of ``f.partial(...)``: a task without the arguments that it is mapped over."""

    def __init__(self, factory: TaskFactory, shared: Mapping[str, Any]) -> None:
        self.factory, self.shared = factory, dict(shared)
        super().__init__(resolve_dag_and_group(dict(factory.kwargs))[0])

    def __repr__(self) -> str:
        return f"{self.factory!r}.partial({', '.join(self.shared)})"

    def partial(self, **kwargs: Any) -> TaskPartial:
        self.factory._check_names(kwargs.keys(), "partial()")
        self.expanded = True  # the returned partial warns if it is not expanded
        return TaskPartial(self.factory, {**self.shared, **kwargs})

    def expand(self, **mapped: Any) -> XComArg:
        self.expanded = True
        return self.factory.expand_over(DictOfLists(mapped), self.shared, strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        self.expanded = True
        return self.factory.expand_over(ListOfDicts(kwargs), self.shared, strict=strict)


def _shown(decorator: str) -> str:
    return "task" if decorator == "python" else f"task.{decorator}"


# ----------------------------------------------------------------------------------------------------------- conditions

Condition = Callable[[Any], bool | tuple[bool, str | None]]


def _on_condition(condition: Condition, run_if: bool, message: str | None) -> Callable[[TaskFactory], TaskFactory]:
    name = "run_if" if run_if else "skip_if"
    if not callable(condition):
        raise InvalidArgument(f"@task.{name} takes a function of the context, not {condition!r}.")

    def decorate(factory: TaskFactory) -> TaskFactory:
        if not isinstance(factory, TaskFactory):
            raise InvalidArgument(
                f"@task.{name} decorates a @task, not {factory!r}.", hint="Write it on the line before @task."
            )
        inner_hook = factory.kwargs.get("pre_execute")

        def pre_execute(context: Any) -> None:
            if inner_hook is not None:
                inner_hook(context)
            result = condition(context)
            holds, reason = result if isinstance(result, tuple) else (result, None)
            if bool(holds) is not run_if:
                raise AirflowSkipException(
                    reason or message or f"skipped by {getattr(condition, '__name__', 'its condition')}"
                )

        return factory.override(pre_execute=pre_execute)

    return decorate


# ---------------------------------------------------------------------------------------------------------------- @task


class TaskDecoratorCollection:
    """``task``, with the other decorators of :data:`TASK_DECORATORS` as attributes: ``task.branch``."""

    def __call__(self, function: Any = None, /, **kwargs: Any) -> Any:
        return self.python(function, **kwargs)

    def __getattr__(self, decorator: str) -> Any:
        if decorator in TASK_DECORATORS:
            return _Decorator(decorator)
        if decorator in NOT_AVAILABLE:
            raise InvalidDag(
                f"@task.{decorator} is not in this release of nbflow.",
                hint="Available are @task and "
                + ", ".join(f"@task.{name}" for name in (*TASK_DECORATORS, "run_if", "skip_if"))
                + ".",
            )
        known = [*TASK_DECORATORS, *NOT_AVAILABLE, "run_if", "skip_if"]
        raise AttributeError(f"There is no @task.{decorator}.{did_you_mean(decorator, known)}")

    def __dir__(self) -> list[str]:
        return [*TASK_DECORATORS, "run_if", "skip_if"]

    @staticmethod
    def run_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Decorate a ``@task``: skip it unless ``condition(context)`` returns true (or ``(true, message)``)."""
        return _on_condition(condition, True, skip_message)

    @staticmethod
    def skip_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Decorate a ``@task``: skip it if ``condition(context)`` returns true."""
        return _on_condition(condition, False, skip_message)


class _Decorator:
    """One decorator of the table: ``@task.branch`` or ``@task.branch(retries=2)``."""

    def __init__(self, decorator: str) -> None:
        self.decorator = decorator

    def __repr__(self) -> str:
        return f"<@{_shown(self.decorator)}>"

    def __call__(self, function: Any = None, /, **kwargs: Any) -> Any:
        if "python_callable" in kwargs:
            function = kwargs.pop("python_callable")
        if function is None:
            return lambda inner: TaskFactory(inner, self.decorator, kwargs)
        if isinstance(function, str):
            raise InvalidArgument(f"@{_shown(self.decorator)} takes keyword arguments: task_id={function!r}.")
        return TaskFactory(function, self.decorator, kwargs)


task = TaskDecoratorCollection()


# ------------------------------------------------------------------------------------------------- @setup and @teardown


def setup(function: Any) -> Any:
    """Mark the function's tasks as setups: ``@setup`` alone, or above ``@task``."""
    factory = function if isinstance(function, TaskFactory) else task(function)
    factory.is_setup = True
    return factory


def teardown(function: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Mark the function's tasks as teardowns: ``@teardown`` alone, with arguments, or above ``@task``."""
    if function is None:
        return lambda inner: teardown(inner, on_failure_fail_dagrun=on_failure_fail_dagrun)
    factory = function if isinstance(function, TaskFactory) else task(function)
    factory.is_teardown = True
    factory.on_failure_fail_dagrun = on_failure_fail_dagrun
    return factory
