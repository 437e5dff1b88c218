"""``@task`` and its family: a function becomes a task, its call becomes the task's place in the DAG.

``KINDS`` is the table of the family: ``@task.branch`` is the row ``branch``. A row names the operator by its module,
so a DAG imports only the operators that it uses; an operator takes part by taking ``python_callable``, ``op_args`` and
``op_kwargs``. ``LATER`` names those of Airflow's family that are not here yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from importlib import import_module
from inspect import Parameter, Signature, isclass, signature
from typing import Any, NamedTuple, get_origin, get_type_hints, is_typeddict

from nbflow.authoring.arguments import unknown_argument
from nbflow.authoring.context import NAMES as CONTEXT_NAMES
from nbflow.authoring.context import inside_a_task
from nbflow.authoring.edges import Linkable
from nbflow.authoring.expansion import DictOfLists, ExpandInput, ListOfDicts
from nbflow.authoring.mapping import MappedOperator, Partial
from nbflow.authoring.operator import BaseOperator, argument_names, find_home
from nbflow.authoring.taskgroup import TaskGroupFactory
from nbflow.authoring.xcomarg import PlainXComArg, XComArg
from nbflow.errors import AirflowSkipException, InvalidArgument, InvalidDag, did_you_mean


class Kind(NamedTuple):
    """Where the operator of one decorator is."""

    module: str
    name: str

    def load(self) -> type[BaseOperator]:
        found: type[BaseOperator] = getattr(import_module(self.module), self.name)
        return found


KINDS: Mapping[str, Kind] = {
    "python": Kind("nbflow.operators.python", "DecoratedPythonOperator"),
    "branch": Kind("nbflow.operators.python", "DecoratedBranchPythonOperator"),
    "short_circuit": Kind("nbflow.operators.python", "DecoratedShortCircuitOperator"),
    "sensor": Kind("nbflow.sensors.python", "DecoratedPythonSensor"),
    "bash": Kind("nbflow.operators.bash", "DecoratedBashOperator"),
    "notebook": Kind("nbflow.operators.notebook", "DecoratedNotebookOperator"),
}
"""``@task.<word>`` -> its operator."""

LATER = frozenset(
    {"virtualenv", "external_python", "branch_virtualenv", "branch_external_python"}
    | {"docker", "kubernetes", "kubernetes_cmd", "pyspark", "sql", "llm", "agent"}
)
"""Of Airflow's family, and not in this release."""

_OWN = frozenset({"python_callable", "op_args", "op_kwargs"})


class TaskFactory:
    """A function under ``@task``: each call makes a task and gives its result, to hand to other tasks."""

    def __init__(self, function: Callable[..., Any], word: str, kwargs: Mapping[str, Any]) -> None:
        if (
            isinstance(function, Linkable | TaskFactory | TaskGroupFactory)
            or isclass(function)
            or not callable(function)
        ):
            raise InvalidArgument(
                f"@{_shown(word)} decorates a function, not {function!r}.",
                hint="Put one decorator of the @task family on the function itself.",
            )
        self.function, self.word = function, word
        self.operator_class = KINDS[word].load()
        known = argument_names(self.operator_class) - _OWN
        if not kwargs.keys() <= known:
            raise unknown_argument(f"@{_shown(word)}", kwargs.keys() - known, known)
        self.kwargs = dict(kwargs)
        self.kwargs.setdefault("task_id", function.__name__)
        self.is_setup = self.is_teardown = False
        self.on_failure_fail_dagrun = False
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@{_shown(self.word)} {self.kwargs['task_id']}>"

    @cached_property
    def signature(self) -> Signature:
        """The function's, in which what the context gives need not be passed."""
        own = signature(self.function)
        parameters = []
        for parameter in own.parameters.values():
            if parameter.name in CONTEXT_NAMES:
                if parameter.default not in (None, Parameter.empty):
                    raise InvalidDag(
                        f"{parameter.name} of {self!r} is given by the context, so its only default can be None."
                    )
                parameter = parameter.replace(default=None)
            parameters.append(parameter)
        try:
            return own.replace(parameters=parameters)
        except ValueError:  # a parameter without default after one that the context gives
            return own.replace(parameters=[p.replace(kind=p.KEYWORD_ONLY) if _plain(p) else p for p in parameters])

    @cached_property
    def multiple_outputs(self) -> bool:
        """Whether the function says that it returns a dict."""
        found = getattr(self.function, "__annotations__", {}).get("return")
        if isinstance(found, str):
            try:
                found = get_type_hints(self.function).get("return")
            except Exception:  # a name that only a type checker knows: then we do not know, as in Airflow
                return False
        origin = get_origin(found) or found
        return is_typeddict(origin) or (isclass(origin) and issubclass(origin, Mapping))

    # --- making tasks

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self._bind(args, kwargs)
        options = self._options()
        options["op_args"], options["op_kwargs"] = args, kwargs
        made = self.operator_class(python_callable=self.function, **options)
        if made.dag is None and inside_a_task():
            logging.getLogger("nbflow.task").warning(
                "%r was called inside a running task: that makes no task, and runs nothing. To run the function, call "
                "%s.function(...); tasks are made where the DAG is written.",
                self,
                self.function.__name__,
            )
        return self._finished(made)

    def override(self, **kwargs: Any) -> TaskFactory:
        """The same function with other arguments of the task."""
        return self._twin({**self.kwargs, **kwargs})

    def partial(self, **kwargs: Any) -> TaskPartial:
        """Arguments of the function that all map indexes share; ``.expand(...)`` gives those that differ."""
        self._check_names(kwargs.keys(), "partial()")
        return TaskPartial(self, kwargs)

    def expand(self, **mapped: Any) -> XComArg:
        """One instance of the task for each item (for each combination, with several arguments)."""
        return self.expand_over(DictOfLists(mapped), {}, strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """One instance of the task for each dict of arguments."""
        return self.expand_over(ListOfDicts(kwargs), {}, strict=strict)

    def expand_over(self, expand_input: ExpandInput, shared: Mapping[str, Any], *, strict: bool) -> XComArg:
        names = expand_input.names()
        if names is not None:
            self._check_names(names, "expand()")
            if strict and (twice := names & shared.keys()):
                raise InvalidArgument(f"{self!r}.expand() got {sorted(twice)}, which partial() gives already.")
            self._bind((), {**shared, **dict.fromkeys(names)})
        options = {**self._options(), "python_callable": self.function, "op_kwargs": dict(shared)}
        made = MappedOperator(self.operator_class, options, expand_input, strict=strict, into="op_kwargs")
        return self._finished(made)

    def _options(self) -> dict[str, Any]:
        """The task's arguments, with an id that is free where it goes: the second call of f makes f__1."""
        options = dict(self.kwargs)
        dag, group = find_home(dict(options))
        task_id = options["task_id"]
        if dag is not None and group is not None and isinstance(task_id, str):
            options["task_id"] = dag.free_id(group.child_id(task_id)).removeprefix(group.prefix)
        if "multiple_outputs" not in options and self.multiple_outputs:
            options["multiple_outputs"] = True
        if self.function.__doc__ and not any(name.startswith("doc") for name in options):
            options["doc_md"] = self.function.__doc__
        return options

    def _finished(self, task: Any) -> XComArg:
        if self.is_setup:
            task.as_setup()
        if self.is_teardown:
            task.as_teardown(on_failure_fail_dagrun=self.on_failure_fail_dagrun)
        return PlainXComArg(task)

    def _twin(self, kwargs: Mapping[str, Any]) -> TaskFactory:
        twin = TaskFactory(self.function, self.word, kwargs)
        twin.is_setup, twin.is_teardown = self.is_setup, self.is_teardown
        twin.on_failure_fail_dagrun = self.on_failure_fail_dagrun
        return twin

    # --- checks

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            near = ""
            if unknown := kwargs.keys() - self.signature.parameters.keys():
                near = did_you_mean(min(unknown), self.signature.parameters)
            raise InvalidArgument(f"{self!r}: {error}.{near}") from None
        for one in (*args, *kwargs.values()):
            if isinstance(one, TaskFactory):
                raise InvalidArgument(
                    f"{self!r} got the function {one!r} itself, not its result.",
                    hint=f"Call it: {one.function.__name__}().",
                )

    def _check_names(self, names: Any, where: str) -> None:
        parameters = self.signature.parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        if unknown := set(names) - parameters.keys():
            raise unknown_argument(f"{self!r}.{where}", unknown, parameters)


class TaskPartial(Partial):
    """What ``f.partial(...)`` gives: a task that still lacks what it is mapped over."""

    def __init__(self, factory: TaskFactory, shared: Mapping[str, Any]) -> None:
        self.factory, self.shared = factory, dict(shared)
        super().__init__(find_home(dict(factory.kwargs))[0])

    def __repr__(self) -> str:
        return f"{self.factory!r}.partial({', '.join(self.shared)})"

    def partial(self, **kwargs: Any) -> TaskPartial:
        self.factory._check_names(kwargs.keys(), "partial()")
        self.expanded = True  # the new one goes on for it
        return TaskPartial(self.factory, {**self.shared, **kwargs})

    def expand(self, **mapped: Any) -> XComArg:
        self.expanded = True
        return self.factory.expand_over(DictOfLists(mapped), self.shared, strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        self.expanded = True
        return self.factory.expand_over(ListOfDicts(kwargs), self.shared, strict=strict)


def _plain(parameter: Parameter) -> bool:
    return parameter.kind is Parameter.POSITIONAL_OR_KEYWORD


def _shown(word: str) -> str:
    return "task" if word == "python" else f"task.{word}"


# ---------------------------------------------------------------------------------------------------------- conditions

Condition = Callable[[Any], bool | tuple[bool, str | None]]


def _on_condition(condition: Condition, wanted: bool, message: str | None) -> Callable[[TaskFactory], TaskFactory]:
    if not callable(condition):
        raise InvalidArgument(
            f"@task.{'run_if' if wanted else 'skip_if'} takes a function of the context, not {condition!r}."
        )

    def decorate(factory: TaskFactory) -> TaskFactory:
        if not isinstance(factory, TaskFactory):
            raise InvalidArgument(
                f"@task.{'run_if' if wanted else 'skip_if'} stands above @task, and got {factory!r}.",
                hint="Write it on the line before @task.",
            )
        before = factory.kwargs.get("pre_execute")

        def pre_execute(context: Any) -> None:
            if before is not None:
                before(context)
            answer = condition(context)
            holds, why = answer if isinstance(answer, tuple) else (answer, None)
            if bool(holds) is not wanted:
                raise AirflowSkipException(
                    why or message or f"skipped by {getattr(condition, '__name__', 'its condition')}"
                )

        return factory.override(pre_execute=pre_execute)

    return decorate


# --------------------------------------------------------------------------------------------------------------- @task


class TaskFamily:
    """``task``, and by attribute ``task.branch`` and the rest of :data:`KINDS`."""

    def __call__(self, function: Any = None, /, **kwargs: Any) -> Any:
        return self.python(function, **kwargs)

    def __getattr__(self, word: str) -> Any:
        if word in KINDS:
            return _Decorator(word)
        if word in LATER:
            raise InvalidDag(
                f"@task.{word} is not in this release of nbflow.",
                hint="There are @task and " + ", ".join(f"@task.{one}" for one in (*KINDS, "run_if", "skip_if")) + ".",
            )
        raise AttributeError(f"There is no @task.{word}.{did_you_mean(word, [*KINDS, *LATER, 'run_if', 'skip_if'])}")

    def __dir__(self) -> list[str]:
        return [*KINDS, "run_if", "skip_if"]

    @staticmethod
    def run_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Above ``@task``: skip the task unless ``condition(context)`` is true (or ``(true, message)``)."""
        return _on_condition(condition, True, skip_message)

    @staticmethod
    def skip_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Above ``@task``: skip the task if ``condition(context)`` is true."""
        return _on_condition(condition, False, skip_message)


class _Decorator:
    """One row of the table: ``@task.branch`` and ``@task.branch(retries=2)``."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return f"<@{_shown(self.word)}>"

    def __call__(self, function: Any = None, /, **kwargs: Any) -> Any:
        if "python_callable" in kwargs:
            function = kwargs.pop("python_callable")
        if function is None:
            return lambda inner: TaskFactory(inner, self.word, kwargs)
        if isinstance(function, str):
            raise InvalidArgument(f"@{_shown(self.word)} takes keyword arguments: task_id={function!r}.")
        return TaskFactory(function, self.word, kwargs)


task = TaskFamily()


# ------------------------------------------------------------------------------------------------- @setup and @teardown


def setup(function: Any) -> Any:
    """Let the function's tasks prepare what others need: ``@setup`` alone, or above ``@task``."""
    factory = function if isinstance(function, TaskFactory) else task(function)
    factory.is_setup = True
    return factory


def teardown(function: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Let the function's tasks clean up: ``@teardown`` alone, with arguments, or above ``@task``."""
    if function is None:
        return lambda inner: teardown(inner, on_failure_fail_dagrun=on_failure_fail_dagrun)
    factory = function if isinstance(function, TaskFactory) else task(function)
    factory.is_teardown = True
    factory.on_failure_fail_dagrun = on_failure_fail_dagrun
    return factory
