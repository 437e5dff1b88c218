"""The DAG, as a file or a cell defines it. :mod:`nbflow.authoring.compile` compiles it into a DagSpec."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, update_wrapper
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nbflow.authoring import current_dag
from nbflow.authoring.params import DagParam, ParamsDict, check_params
from nbflow.authoring.task_arguments import aware, read_callbacks, read_datetime, unknown_argument, warn_deprecated
from nbflow.authoring.taskgroup import TaskGroup
from nbflow.core.identifiers import DAG_ID, check_id
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import (
    DuplicateTaskIdFound,
    FailFastDagInvalidTriggerRule,
    InvalidArgument,
    InvalidDag,
    TaskNotFound,
    did_you_mean,
)

if TYPE_CHECKING:
    from graphviz import Digraph

    from nbflow.authoring.abstract_operator import AbstractOperator
    from nbflow.authoring.compile import CompileOptions
    from nbflow.core.spec import DagSpec
    from nbflow.core.timetables import Timetable

D = TypeVar("D", bound="DAG")
_UNSET: Any = object()
TAG_LENGTH = 100

OLD: Mapping[str, str | None] = {
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "concurrency": "max_active_tasks",
    "fail_stop": "fail_fast",
    "default_view": None,
    "orientation": None,
    "full_filepath": None,
    "sla_miss_callback": None,
}
"""Airflow 2's name -> Airflow 3's, or None where the argument is accepted and has no effect."""

_FAIL_FAST_RULES = frozenset({TriggerRule.ALL_SUCCESS, TriggerRule.ALL_DONE_SETUP_SUCCESS})


class _ArgumentWithSetting:
    """An argument whose default is a setting, applied by the compiler. Where the DAG does not pass the argument, the
    attribute is Airflow's default; ``dag.explicit_arguments`` holds the values that were passed."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, dag: DAG | None, owner: type) -> Any:
        value = None if dag is None else dag.explicit_arguments.get(self.name)
        return self.default if value is None else value

    def __set__(self, dag: DAG, value: Any) -> None:
        dag.explicit_arguments[self.name] = value


class DAG:
    """A pipeline: tasks, their dependencies and a schedule. Use it with ``with DAG(...)``, or pass it as ``dag=``.

    Arguments, defaults and checks are Airflow 3's (``schedule=None``, ``catchup=False``); Airflow 2's arguments work
    with a warning. Raises InvalidArgument for a value of the wrong type, InvalidDag for an invalid one.
    """

    catchup: Any = _ArgumentWithSetting(False)
    max_active_runs: Any = _ArgumentWithSetting(16)
    max_active_tasks: Any = _ArgumentWithSetting(16)

    zone: tzinfo | None = None
    """An explicit time zone (``%%dag --timezone``), which replaces that of the dates."""

    def __init__(
        self,
        dag_id: str,
        description: str | None = None,
        schedule: Any = None,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        catchup: bool | None = None,
        default_args: Mapping[str, Any] | None = None,
        tags: Collection[str] | None = None,
        params: Mapping[str, Any] | None = None,
        max_active_runs: int | None = None,
        max_active_tasks: int | None = None,
        max_consecutive_failed_dag_runs: int = 0,
        dagrun_timeout: timedelta | None = None,
        on_success_callback: Any = None,
        on_failure_callback: Any = None,
        deadline: Any = None,
        fail_fast: bool = False,
        render_template_as_native_obj: bool = False,
        user_defined_macros: Mapping[str, Any] | None = None,
        user_defined_filters: Mapping[str, Any] | None = None,
        template_searchpath: str | Sequence[str] | None = None,
        template_undefined: type | None = None,
        jinja_environment_kwargs: Mapping[str, Any] | None = None,
        doc_md: str | None = None,
        owner_links: Mapping[str, str] | None = None,
        is_paused_upon_creation: bool | None = None,
        access_control: Mapping[str, Any] | None = None,
        auto_register: bool = True,
        dag_display_name: str | None = None,
        **old: Any,
    ) -> None:
        check_id(dag_id, DAG_ID)
        self.dag_id = dag_id
        self.explicit_arguments: dict[str, Any] = {}
        self.place = current_dag.place(1)
        self.fileloc = self.place.file
        if old:
            renamed = self._rename_old(old, {"schedule": schedule, "max_active_tasks": max_active_tasks})
            schedule = renamed.get("schedule", schedule)
            max_active_tasks = renamed.get("max_active_tasks", max_active_tasks)
            fail_fast = renamed.get("fail_fast", fail_fast)
        subject = f"DAG {dag_id!r}"
        _check(
            subject,
            description=(description, str),
            tags=(tags, (str, Collection)),
            default_args=(default_args, Mapping),
        )
        _check(subject, catchup=(catchup, bool), params=(params, Mapping), dagrun_timeout=(dagrun_timeout, timedelta))
        _check(subject, max_active_runs=(max_active_runs, int), max_active_tasks=(max_active_tasks, int))
        _check(subject, max_consecutive_failed_dag_runs=(max_consecutive_failed_dag_runs, int), doc_md=(doc_md, str))
        _check(subject, dag_display_name=(dag_display_name, str), owner_links=(owner_links, Mapping))
        self.description, self.schedule, self.catchup = description, schedule, catchup
        self.default_args: dict[str, Any] = dict(default_args or {})
        self._read_default_dates()
        self.start_date, self.end_date = start_date, end_date
        self.tags = _read_tags(tags, subject)
        inherited = self.default_args.pop("params", None)
        _check(subject, params=(inherited, Mapping))
        self.params = ParamsDict({**(inherited or {}), **(params or {})}, subject=subject)
        self.max_active_runs, self.max_active_tasks = max_active_runs, max_active_tasks
        self.max_consecutive_failed_dag_runs, self.dagrun_timeout = max_consecutive_failed_dag_runs, dagrun_timeout
        self.on_success_callback = read_callbacks("on_success_callback", on_success_callback, subject)
        self.on_failure_callback = read_callbacks("on_failure_callback", on_failure_callback, subject)
        self.deadline, self.fail_fast = deadline, fail_fast
        if deadline is not None:
            current_dag.warn(f"deadline of {subject} has no effect yet; dagrun_timeout ends a run that takes too long.")
        self.render_template_as_native_obj = render_template_as_native_obj
        self.user_defined_macros, self.user_defined_filters = user_defined_macros, user_defined_filters
        self.template_searchpath, self.template_undefined = template_searchpath, template_undefined
        self.jinja_environment_kwargs = jinja_environment_kwargs
        self.doc_md, self.owner_links = doc_md, _read_links(owner_links, subject)
        self.is_paused_upon_creation, self.access_control = is_paused_upon_creation, access_control
        self.auto_register, self.dag_display_name = auto_register, dag_display_name
        self.entered = False
        """Whether the DAG was used in a ``with``: the loader then registers it even if no global variable refers to
        it."""
        self.task_dict: dict[str, AbstractOperator] = {}
        self.edge_labels: dict[tuple[str, str], str] = {}
        self.unfinished: list[Any] = []
        """Edges and partial operators without an effect so far; the compiler warns of them."""
        self._ids: dict[str, AbstractOperator | TaskGroup] = {}
        self._suffixes: dict[str, int] = {}
        self.task_group = TaskGroup.root(self)
        check_schedule(schedule, subject)
        if params and schedule is not None:
            check_params(self)
        current_dag.record_dag(self)

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"

    # --- reading arguments

    def _rename_old(self, old: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in ``old`` by their names in Airflow 3; ``current`` holds those passed by that name already."""
        if unknown := old.keys() - OLD.keys():
            names = signature(DAG.__init__).parameters.keys() - {"self", "old"}
            raise unknown_argument(f"DAG {self.dag_id!r}", unknown, names)
        renamed: dict[str, Any] = {}
        for old_name, value in old.items():
            name = OLD[old_name]
            warn_deprecated(f"{old_name} of DAG {self.dag_id!r}", name)
            if name and value is not None:
                if renamed.get(name) is not None or current.get(name) is not None:
                    raise InvalidArgument(
                        f"DAG {self.dag_id!r} has {name} and also its old name {old_name}. Give {name} only."
                    )
                renamed[name] = value
        return renamed

    def _read_default_dates(self) -> None:
        """Convert dates in default_args that are ISO text."""
        for name in ("start_date", "end_date"):
            text = self.default_args.get(name)
            if isinstance(text, str):
                try:
                    self.default_args[name] = datetime.fromisoformat(text)
                except ValueError:
                    raise InvalidDag(
                        f"default_args of DAG {self.dag_id!r}: {name}={text!r} is not an ISO date."
                    ) from None

    # --- dates

    @property
    def explicit_timezone(self) -> tzinfo | None:
        """The explicit time zone, else that of the start date, the end date, or the start date of default_args; None if
        none of them has one."""
        if self.zone is not None:
            return self.zone
        dates = (self._start, self._end, self.default_args.get("start_date"))
        return next((date.tzinfo for date in dates if isinstance(date, datetime) and date.tzinfo is not None), None)

    @property
    def timezone(self) -> tzinfo:
        """The time zone of the schedule and of naive dates; UTC if no date has one (the compiler then uses the setting
        ``default_timezone``)."""
        return self.explicit_timezone or UTC

    @property
    def start_date(self) -> datetime | None:
        return aware(self._start, self.timezone)

    @start_date.setter
    def start_date(self, value: datetime | None) -> None:
        self._start = read_datetime("start_date", value, f"DAG {self.dag_id!r}")

    @property
    def end_date(self) -> datetime | None:
        return aware(self._end, self.timezone)

    @end_date.setter
    def end_date(self, value: datetime | None) -> None:
        self._end = read_datetime("end_date", value, f"DAG {self.dag_id!r}")

    @property
    def naive_dates(self) -> tuple[datetime | None, datetime | None]:
        """The start and end date as they were passed."""
        return self._start, self._end

    # --- with

    def __enter__(self: D) -> D:
        current_dag.push(self, self.task_group)
        self.entered = True
        return self

    def __exit__(self, *error: object) -> None:
        current_dag.pop()

    # --- tasks

    def add_task(self, task: AbstractOperator, group: TaskGroup | None = None) -> None:
        """Add a task. Raises DuplicateTaskIdFound, and InvalidDag for a task of another DAG."""
        if task.dag is not None and task.dag is not self:
            raise InvalidDag(
                f"{task!r} belongs to DAG {task.dag.dag_id!r}, so it cannot be added to DAG {self.dag_id!r}.",
                hint="Create a separate task in each DAG, for example in a function.",
            )
        if self.task_dict.get(task.task_id) is task:
            return
        if self.fail_fast and task.trigger_rule not in _FAIL_FAST_RULES and not task.is_teardown:
            raise FailFastDagInvalidTriggerRule(
                f"Task {task.task_id!r} has trigger_rule={str(task.trigger_rule)!r}, but a DAG with fail_fast=True "
                "skips all remaining tasks at the first failure.",
                hint="Leave out trigger_rule, or fail_fast.",
            )
        self.claim_id(task.task_id, task)
        group = group if group is not None else self.task_group
        task.dag, task.task_group = self, group
        self.task_dict[task.task_id] = task
        group.children[task.task_id] = task

    def add_tasks(self, tasks: Collection[AbstractOperator]) -> None:
        for task in tasks:
            self.add_task(task)

    def forget_task(self, task: AbstractOperator) -> None:
        """Remove a task whose ``__init__`` raised."""
        if self.task_dict.get(task.task_id) is task:
            del self.task_dict[task.task_id], self._ids[task.task_id]
            if task.task_group is not None:
                task.task_group.children.pop(task.task_id, None)

    def claim_id(self, node_id: str | None, node: AbstractOperator | TaskGroup) -> None:
        """Reserve an id for a task or group. Raises DuplicateTaskIdFound, with both lines, if the id is taken."""
        assert node_id is not None
        first = self._ids.setdefault(node_id, node)
        if first is not node:
            kind, first_kind = ("group" if isinstance(item, TaskGroup) else "task" for item in (node, first))
            at, first_at = _lines(node, first)
            as_kind = "" if kind == first_kind else f" as a {first_kind}"
            raise DuplicateTaskIdFound(
                f"Duplicate {kind} id {node_id!r}{at} in DAG {self.dag_id!r}: first defined{first_at}{as_kind}."
            )

    def free_id(self, node_id: str) -> str:
        """The id itself, or the id with the first suffix ``__N`` that is not taken."""
        if node_id not in self._ids:
            return node_id
        n = self._suffixes.get(node_id, 1)
        while f"{node_id}__{n}" in self._ids:
            n += 1
        self._suffixes[node_id] = n
        return f"{node_id}__{n}"

    @property
    def tasks(self) -> list[AbstractOperator]:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    @property
    def roots(self) -> list[AbstractOperator]:
        return [task for task in self.task_dict.values() if not task.upstream_task_ids]

    @property
    def leaves(self) -> list[AbstractOperator]:
        return [task for task in self.task_dict.values() if not task.downstream_task_ids]

    @property
    def teardowns(self) -> list[AbstractOperator]:
        return [task for task in self.task_dict.values() if task.is_teardown]

    @property
    def task_group_dict(self) -> dict[str, TaskGroup]:
        return {group.group_id: group for group in self.task_group.groups() if group.group_id}

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str, include_subdags: bool = False) -> AbstractOperator:
        """Return the task with this id. Raises TaskNotFound, which names the nearest id."""
        task = self.task_dict.get(task_id)
        if task is None:
            hint = did_you_mean(task_id, self.task_dict) if isinstance(task_id, str) else ""
            raise TaskNotFound(f"DAG {self.dag_id!r} has no task {task_id!r}.{hint}")
        return task

    def set_dependency(self, upstream_task_id: str, downstream_task_id: str) -> None:
        self.get_task(upstream_task_id).set_downstream(self.get_task(downstream_task_id))

    def get_edge_info(self, upstream_task_id: str, downstream_task_id: str) -> dict[str, str]:
        label = self.edge_labels.get((upstream_task_id, downstream_task_id))
        return {"label": label} if label else {}

    def topological_sort(self) -> list[AbstractOperator]:
        """The tasks in topological order. Raises AirflowDagCycleException."""
        from nbflow.authoring.compile import topological

        return [self.task_dict[task_id] for task_id in topological(self)]

    # --- description

    @property
    def folder(self) -> str:
        """The folder of the DAG's file, or an empty string for a DAG defined in a kernel."""
        return os.path.dirname(self.fileloc) if os.path.isabs(self.fileloc) and os.path.exists(self.fileloc) else ""

    @property
    def owner(self) -> str:
        return ", ".join(dict.fromkeys(str(task.owner) for task in self.task_dict.values()))

    @property
    def display_name(self) -> str:
        return self.dag_display_name or self.dag_id

    @cached_property
    def timetable(self) -> Timetable:
        """The timetable under the default settings; the scheduler uses that of the compiled DAG."""
        from nbflow.core.timetables import timetable_from_schedule

        return timetable_from_schedule(self.schedule, self.timezone)

    def param(self, name: str, default: Any = _UNSET) -> DagParam:
        """A reference to a param, to pass to a task; ``default`` declares the param."""
        return DagParam(self, name) if default is _UNSET else DagParam(self, name, default)

    # --- compiling and running

    def to_spec(self, options: CompileOptions | None = None) -> DagSpec:
        """Check and compile the DAG; see :func:`nbflow.authoring.compile.compile_dag`."""
        from nbflow.authoring.compile import CompileOptions, compile_dag

        return compile_dag(self, options or CompileOptions())

    def to_graphviz(self, states: Mapping[str, str] | None = None) -> Digraph:
        """Return the graph as a ``graphviz.Digraph`` whose node names are task ids. Pictures (``.render()``,
        ``.pipe()``, a notebook's output) need Graphviz's ``dot``; ``.source`` does not.

        ``states``: task id -> state, such as those of a run; each node then has the name and the colours of its state.
        Raises TaskNotFound for a state of an unknown task.
        """
        from nbflow.authoring.dot_renderer import digraph

        return digraph(self.to_spec(), states)

    def validate(self) -> None:
        """Raise the error that would make the DAG's import fail."""
        self.to_spec()

    def test(
        self, logical_date: datetime | str | None = None, run_conf: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Run the DAG once in this process, so that breakpoints work. See :func:`nbflow.app.test_dag`."""
        from nbflow.app import test_dag

        return test_dag(self, logical_date=logical_date, run_conf=run_conf, **kwargs)


def _check(subject: str, **arguments: tuple[Any, Any]) -> None:
    """Check types: ``name=(value, type or tuple of types)``. None is always allowed."""
    for name, (value, kind) in arguments.items():
        if value is not None and not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(kind.__name__ for kind in kinds)
            raise InvalidArgument(f"{name} of {subject} must be of type {names}, not {type(value).__name__} {value!r}.")


def _lines(node: Any, first: Any) -> tuple[str, str]:
    """`` at line 12`` and `` at line 7``; the second one with its file where the files differ."""
    place, first_place = node.place, first.place
    if place is None or first_place is None:
        return "", " earlier"
    file = "" if place.file == first_place.file else f" of {first_place.file}"
    return f" at {place}", f" at {first_place}{file}"


def _read_tags(tags: Any, subject: str) -> tuple[str, ...]:
    """The distinct tags, sorted. A string is one tag."""
    read = [tags] if isinstance(tags, str) else list(tags or ())
    for tag in read:
        if not isinstance(tag, str):
            raise InvalidArgument(f"A tag of {subject} must be text, not {type(tag).__name__} {tag!r}.")
        if len(tag) > TAG_LENGTH:
            raise InvalidDag(
                f"The tag {tag[:20]!r}... of {subject} has {len(tag)} characters; at most {TAG_LENGTH} are allowed."
            )
    return tuple(sorted(set(read)))


def _read_links(links: Mapping[str, str] | None, subject: str) -> dict[str, str]:
    """owner -> link. Only links that a browser can follow safely (no ``javascript:``)."""
    for owner, link in (links or {}).items():
        if not isinstance(link, str) or not link.startswith(("https://", "http://", "mailto:")):
            raise InvalidDag(
                f"owner_links of {subject}: the link of {owner!r} must begin with https:// or mailto:, not {link!r}."
            )
    return dict(links or {})


def check_schedule(schedule: Any, subject: str) -> None:
    """Refuse a value that cannot be a schedule at the line that passes it. The compiler reads the schedule itself."""
    if schedule is None or isinstance(schedule, str | timedelta) or schedule == []:
        return
    if isinstance(schedule, bool | int | float | datetime):
        raise InvalidDag(
            f"{schedule!r} is not a valid schedule of {subject}.",
            hint="Give None, a cron expression or preset, a timedelta, a relativedelta or a Timetable.",
        )


# ----------------------------------------------------------------------------------------------------------------- @dag


class DagFactory:
    """A function decorated with ``@dag``: each call returns a DAG with the tasks that the function creates."""

    def __init__(self, function: Callable[..., Any], dag_id: str, kwargs: Mapping[str, Any]) -> None:
        self.function, self.dag_id, self.kwargs = function, dag_id or function.__name__, dict(kwargs)
        self.called = False
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@dag {self.dag_id}>"

    def __call__(self, *args: Any, **kwargs: Any) -> DAG:
        """Return the DAG. The function's arguments become params, with the values passed or the function's defaults."""
        self.called = True
        try:
            bound = signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"@dag {self.dag_id}: {error}.") from None
        bound.apply_defaults()
        new_dag = DAG(self.dag_id, **self.kwargs)
        new_dag.place = current_dag.place(1)
        new_dag.fileloc = new_dag.place.file
        if self.function.__doc__ and new_dag.doc_md is None:
            new_dag.doc_md = self.function.__doc__
        with new_dag:
            self.function(**{name: new_dag.param(name, value) for name, value in bound.arguments.items()})
        return new_dag


@overload
def dag(dag_id: Callable[..., Any]) -> DagFactory: ...
@overload
def dag(dag_id: str = "", **kwargs: Any) -> Callable[[Callable[..., Any]], DagFactory]: ...
def dag(dag_id: Any = "", **kwargs: Any) -> Any:
    """Decorate a function that defines a DAG when it is called: ``@dag`` or ``@dag(schedule="@daily", ...)``."""
    if callable(dag_id):
        return DagFactory(dag_id, "", {})
    if dag_id and not isinstance(dag_id, str):
        raise InvalidArgument(f"@dag decorates a function, not {type(dag_id).__name__} {dag_id!r}.")
    return lambda function: DagFactory(function, dag_id, kwargs)


def registered_dags(namespace: Mapping[str, Any], created: Sequence[DAG]) -> list[DAG]:
    """The DAGs that a file registers, in the order of creation: those that its globals refer to, and those used in a
    ``with``.

    ``created``: the list of :func:`nbflow.authoring.current_dag.collect_dags`. Warns of a ``@dag`` function that the
    file never calls."""
    in_globals = {id(value) for value in namespace.values() if isinstance(value, DAG)}
    for name, value in namespace.items():
        if isinstance(value, DagFactory) and not value.called:
            code = value.function.__code__
            at = current_dag.Place(code.co_filename, code.co_firstlineno)
            current_dag.warn(
                f"{name} is a @dag function that is never called, so it defines no DAG. Call it: {name}()", at=at
            )
    return [dag for dag in created if id(dag) in in_globals or (dag.entered and dag.auto_register)]
