"""Compile the DAG that the user wrote into a :class:`~nbflow.core.spec.DagSpec`: checks, task order, weights, plain
data.

The compiler makes the checks that need the whole DAG. It refuses a cycle (the error has its path), a task after a setup
with another trigger rule than ``all_success``, an invalid schedule, and catchup without a start date. If a single line
of the user's file is wrong, the error names it.

The order of tasks is topological and otherwise that of the file, so equal source gives an equal spec.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, TypeVar

from nbflow.authoring.abstract_operator import AbstractOperator
from nbflow.authoring.current_dag import Place, warn
from nbflow.authoring.operator import BaseOperator
from nbflow.authoring.operator_signature import argument_names
from nbflow.authoring.params import check_params, warn_of_params
from nbflow.authoring.params import to_spec as param_to_spec
from nbflow.authoring.task_arguments import COMMON, KNOWN
from nbflow.core.retry import backoff_multiplier
from nbflow.core.spec import DagSpec, GroupSpec, Length, TaskSpec, length_sources
from nbflow.core.timetables import (
    Timetable,
    TimetableInvalid,
    as_utc,
    timetable_from_schedule,
    timezone_key,
    timezone_of,
)
from nbflow.core.timetables.likely_mistakes import likely_mistakes
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import AirflowDagCycleException, AirflowException, AirflowTimetableInvalid, InvalidDag, did_you_mean

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG

E = TypeVar("E", bound=AirflowException)

MAX_WEIGHT = 2**31 - 1
"""The largest value of the metastore's integer column."""
MAX_SHOWN_TASKS = 12
"""Number of task ids in an error that shows a cycle."""
MAX_SHOWN_CHARACTERS = 2000
"""Number of characters stored of a template field's source, for the views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """The settings that apply where a DAG does not pass an argument. Defaults are those of :mod:`nbflow.config`; delays
    are seconds."""

    max_active_tasks: int = 16
    max_active_runs: int = 16
    catchup: bool = False
    create_cron_data_intervals: bool = True
    timezone: str = "UTC"
    retries: int = 0
    retry_delay: float = 300.0
    execution_timeout: float | None = None
    weight_rule: str = "downstream"
    owner: str = "airflow"
    queue: str = "default"


def compile_dag(dag: DAG, options: CompileOptions) -> DagSpec:
    """Return the spec of a DAG. Raises InvalidDag, AirflowDagCycleException or AirflowTimetableInvalid; where a single
    line is wrong, the error's ``place`` names it."""
    for task in dag.task_dict.values():  # a field assigned after __init__ may hold another task's result, too
        for name in task.template_fields if isinstance(task, BaseOperator) else ():
            task.add_reference_edges(getattr(task, name, None))
    order = topological(dag)
    for error in _setups_ignored_downstream(dag):
        raise error
    _warn_of_oversights(dag)
    run_range = _run_range(dag, options)
    groups = _groups(dag)
    weights = _weights(dag, order, options)
    lengths = [task.expand_input.length() for task in dag.task_dict.values() if task.expand_input is not None]
    lengths += [group.expand for group in groups.values() if group.expand is not None]
    sources = frozenset(source for expr in lengths for source in length_sources(expr))
    shared = _Shared(run_range=run_range, feeding=sources, options=options)
    return DagSpec(
        dag_id=dag.dag_id,
        tasks={task_id: _task(dag.task_dict[task_id], weights[task_id], shared) for task_id in order},
        groups=groups,
        schedule=run_range.timetable.to_spec(),
        schedule_text=run_range.timetable.summary,
        start_date=run_range.start,
        end_date=run_range.end,
        timezone=_zone_text(run_range.zone),
        catchup=run_range.catchup,
        max_active_runs=run_range.max_active_runs,
        max_active_tasks=_dag_argument(dag, "max_active_tasks", options.max_active_tasks),
        max_consecutive_failed_dag_runs=dag.max_consecutive_failed_dag_runs,
        dagrun_timeout=_seconds(dag.dagrun_timeout),
        fail_fast=bool(dag.fail_fast),
        is_paused_upon_creation=dag.is_paused_upon_creation,
        description=dag.description,
        doc_md=_doc(dag.doc_md, dag.folder),
        tags=dag.tags,
        owners=tuple(dict.fromkeys(str(_task_argument(dag.task_dict[t], "owner", options.owner)) for t in order)),
        params=_params(dag),
        edge_labels={f"{up}>{down}": label for (up, down), label in sorted(dag.edge_labels.items())},
        callbacks=tuple(kind for kind in ("success", "failure") if getattr(dag, f"on_{kind}_callback")),
    )


def compile_errors(dag: DAG, options: CompileOptions) -> list[AirflowException]:
    """All errors of the checks that need the whole DAG; :func:`compile_dag` raises the first."""
    errors: list[AirflowException] = list(_setups_ignored_downstream(dag))
    for check in (lambda: topological(dag), lambda: _run_range(dag, options), lambda: _params(dag)):
        try:
            check()
        except AirflowException as error:
            errors.append(error)
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """Values that all tasks of a DAG share. ``feeding``: ids of the tasks whose results others are mapped over."""

    run_range: _RunRange
    feeding: frozenset[str]
    options: CompileOptions


def _with_place(error: E, place: Place | None) -> E:
    """Return the error with its line of the user's file."""
    error.place = place
    return error


def _warn_of_oversights(dag: DAG) -> None:
    """Warn of edges, partial operators and default_args that have no effect."""
    for unfinished in dag.unfinished:
        unfinished.warn_if_unused()
    kinds = None
    for name in dag.default_args:
        if name in KNOWN:
            continue
        if kinds is None:
            kinds = {task.operator_class for task in dag.task_dict.values()}
        names = KNOWN.union(*map(argument_names, kinds))
        if name not in names and kinds:
            warn(
                f"default_args of DAG {dag.dag_id!r} has {name!r}, which none of its operators accepts."
                + did_you_mean(name, names),
                at=dag.place,
            )


# ---------------------------------------------------------------------------------------------------------------- order


def topological(dag: DAG) -> list[str]:
    """Task ids in topological order, otherwise in the file's order. Raises AirflowDagCycleException."""
    tasks = dag.task_dict
    rank = {task_id: index for index, task_id in enumerate(tasks)}
    missing = {task_id: len(task.upstream_task_ids) for task_id, task in tasks.items()}
    ready = [index for task_id, index in rank.items() if not missing[task_id]]
    ids, order = list(tasks), []
    while ready:
        task_id = ids[heapq.heappop(ready)]
        order.append(task_id)
        for down in tasks[task_id].downstream_task_ids:
            missing[down] -= 1
            if not missing[down]:
                heapq.heappush(ready, rank[down])
    if len(order) < len(tasks):
        _refuse_cycle(dag, set(tasks) - set(order))
    return order


def _refuse_cycle(dag: DAG, remaining: set[str]) -> None:
    """Walk upstream among the tasks that the topological sort could not place: the walk must reach a task twice."""
    ids = list(dag.task_dict)
    current = min(remaining, key=ids.index)
    path: dict[str, int] = {}
    while current not in path:
        path[current] = len(path)
        current = min(dag.task_dict[current].upstream_task_ids & remaining)
    cycle = list(path)[path[current] :][::-1]
    first = min(range(len(cycle)), key=lambda index: ids.index(cycle[index]))
    cycle = [*cycle[first:], *cycle[:first], cycle[first]]
    places = [f"{task_id} at {place}" for task_id in cycle[:-1] if (place := dag.task_dict[task_id].place) is not None]
    error = AirflowDagCycleException(
        f"The tasks of DAG {dag.dag_id!r} form a cycle: {_abbreviated(cycle, ' >> ')} ({_abbreviated(places, ', ')}).",
        hint="Remove one of these edges.",
    )
    raise _with_place(error, dag.task_dict[cycle[0]].place)


def _abbreviated(names: list[str], separator: str) -> str:
    """All names of a short list; the first and the last names of a long one."""
    return separator.join(names if len(names) <= MAX_SHOWN_TASKS else [*names[:6], "...", *names[-5:]])


def _setups_ignored_downstream(dag: DAG) -> Iterator[InvalidDag]:
    for task in dag.task_dict.values():
        if not task.is_setup:
            continue
        for down in task.downstream_list:
            if not down.is_teardown and down.trigger_rule != TriggerRule.ALL_SUCCESS:
                error = InvalidDag(
                    f"Task {down.task_id!r} comes after the setup {task.task_id!r}, so its trigger_rule must be "
                    f"'all_success', not {str(down.trigger_rule)!r}: a task runs only when its setup has succeeded."
                )
                yield _with_place(error, down.place)


# ------------------------------------------------------------------------------------------------------------- schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunRange:
    """When the DAG runs, and how many runs at a time."""

    timetable: Timetable
    zone: tzinfo
    start: datetime | None
    end: datetime | None
    catchup: bool
    max_active_runs: int


def _run_range(dag: DAG, options: CompileOptions) -> _RunRange:
    zone = dag.explicit_timezone or timezone_of(options.timezone)
    timetable = _timetable(dag, zone, options)
    for mistake in likely_mistakes(dag.schedule, timetable):
        warn(f"Schedule of DAG {dag.dag_id!r}: {mistake}", at=dag.place)
    catchup = _dag_argument(dag, "catchup", options.catchup)
    start, end = _bounds(dag, zone)
    if catchup and start is None and timetable.can_be_scheduled:
        raise InvalidDag(
            f"DAG {dag.dag_id!r} has catchup=True and no start_date, so catchup has no first interval.",
            hint="Give start_date=, or catchup=False.",
        )
    (check_params if timetable.can_be_scheduled else warn_of_params)(dag)
    return _RunRange(
        timetable=timetable,
        zone=zone,
        start=start,
        end=end,
        catchup=catchup,
        max_active_runs=_max_active_runs(dag, timetable, options),
    )


def _dag_argument(dag: DAG, name: str, default: Any) -> Any:
    """The DAG's argument, or ``default`` (a setting) where the DAG does not pass it."""
    value = dag.explicit_arguments.get(name)
    return default if value is None else value


def _timetable(dag: DAG, zone: tzinfo, options: CompileOptions) -> Timetable:
    try:
        return timetable_from_schedule(
            dag.schedule, zone, create_cron_data_intervals=options.create_cron_data_intervals
        )
    except TimetableInvalid as error:
        raise AirflowTimetableInvalid(f"The schedule of DAG {dag.dag_id!r} is invalid: {error}") from error
    except ValueError as error:
        raise InvalidDag(f"The schedule of DAG {dag.dag_id!r} is invalid: {error}") from error


def _zone_text(zone: tzinfo) -> str:
    """The time zone's name; ``+05:30`` for a fixed offset."""
    key = timezone_key(zone)
    return key if isinstance(key, str) else datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]


def _max_active_runs(dag: DAG, timetable: Timetable, options: CompileOptions) -> int:
    limit = timetable.active_runs_limit
    requested: int | None = dag.explicit_arguments.get("max_active_runs")
    if requested is None:
        return limit if limit is not None else options.max_active_runs
    if limit is not None and requested > limit:
        raise InvalidDag(
            f"DAG {dag.dag_id!r} has max_active_runs={requested}, but its schedule {timetable.summary!r} allows "
            f"{limit}.",
            hint="Leave out max_active_runs.",
        )
    return requested


def _bounds(dag: DAG, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """The first and the last date of the DAG's runs: the DAG's own dates, else the earliest start and the latest end of
    its tasks. A task without an end date has no end."""
    tasks = dag.task_dict.values()
    start, end = dag.naive_dates
    starts = [start] if start else [task.start_date for task in tasks if task.start_date]
    ends = [end] if end else [task.end_date for task in tasks if task.end_date]
    if not end and len(ends) < len(tasks):
        ends = []
    first = min((as_utc(moment, zone) for moment in starts), default=None)
    return first, max((as_utc(moment, zone) for moment in ends), default=None)


# ---------------------------------------------------------------------------------------------------------------- tasks


def _task_argument(task: AbstractOperator, name: str, default: Any) -> Any:
    """The task's argument, or ``default`` (a setting) where the task does not pass it."""
    if name in task.__dict__ or getattr(task, name) != COMMON[name].default:
        return getattr(task, name)
    return default


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


def _weights(dag: DAG, order: list[str], options: CompileOptions) -> dict[str, int]:
    """task id -> effective priority: its own weight, plus those of all tasks downstream (or upstream, or none),
    according to its ``weight_rule``."""
    tasks = dag.task_dict
    own_weights = [int(tasks[task_id].priority_weight) for task_id in order]
    rules = [_task_argument(tasks[task_id], "weight_rule", options.weight_rule) for task_id in order]
    position = {task_id: index for index, task_id in enumerate(order)}
    reach: dict[str, list[int]] = {}
    for rule, indexes in (("downstream", range(len(order) - 1, -1, -1)), ("upstream", range(len(order)))):
        if rule not in rules:
            continue
        reachable = reach[rule] = [0] * len(order)  # for each task, the bit set of the tasks downstream (or upstream)
        for index in indexes:
            task = tasks[order[index]]
            neighbours = task.downstream_task_ids if rule == "downstream" else task.upstream_task_ids
            bits = 0
            for neighbour in neighbours:
                bits |= 1 << position[neighbour] | reachable[position[neighbour]]
            reachable[index] = bits
    common = own_weights[0] if own_weights and all(weight == own_weights[0] for weight in own_weights) else None
    weights: dict[str, int] = {}
    for index, task_id in enumerate(order):
        bits = reach[rules[index]][index] if rules[index] in reach else 0
        total = own_weights[index] + (common * bits.bit_count() if common is not None else _sum_at(own_weights, bits))
        weights[task_id] = max(-MAX_WEIGHT, min(MAX_WEIGHT, total))
    return weights


def _sum_at(values: list[int], bits: int) -> int:
    """The sum of the values whose index is set in ``bits``."""
    total = 0
    while bits:
        low = bits & -bits
        total += values[low.bit_length() - 1]
        bits ^= low
    return total


_CALLBACKS = ("execute", "success", "failure", "retry", "skipped")


def _task(task: AbstractOperator, weight: int, shared: _Shared) -> TaskSpec:
    explicit, options, runs = task.__dict__, shared.options, shared.run_range
    callbacks = tuple(kind for kind in _CALLBACKS if explicit.get(f"on_{kind}_callback"))
    start = as_utc(task.start_date, runs.zone) if task.start_date else None
    end = as_utc(task.end_date, runs.zone) if task.end_date else None
    backoff, timeout = task.retry_exponential_backoff, task.execution_timeout
    group = task.task_group
    return TaskSpec(
        task_id=task.task_id,
        operator=task.task_type,
        upstream=tuple(sorted(task.upstream_task_ids)),
        trigger_rule=str(task.trigger_rule),
        retries=_task_argument(task, "retries", options.retries),
        retry_delay=task.retry_delay.total_seconds() if "retry_delay" in explicit else options.retry_delay,
        retry_backoff=backoff_multiplier(backoff),
        max_retry_delay=_seconds(task.max_retry_delay),
        execution_timeout=options.execution_timeout if timeout is None else timeout.total_seconds(),
        depends_on_past=task.depends_on_past,
        wait_for_downstream=task.wait_for_downstream,
        ignore_first_depends_on_past=task.ignore_first_depends_on_past,
        pool=task.pool,
        pool_slots=task.pool_slots,
        priority_weight=weight,
        queue=_task_argument(task, "queue", options.queue),
        executor=task.executor,
        max_active_tis_per_dag=task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=task.max_active_tis_per_dagrun,
        start_date=start if start is not None and (runs.start is None or start > runs.start) else None,
        end_date=end if end is not None and (runs.end is None or end < runs.end) else None,
        is_setup=task.is_setup,
        is_teardown=task.is_teardown,
        on_failure_fail_dagrun=task.on_failure_fail_dagrun,
        setups=_setups_of(task),
        group=group.group_id if group is not None else None,
        expand=task.expand_input.length() if task.expand_input is not None else None,
        feeds_mapping=task.task_id in shared.feeding,
        steers=str(getattr(task, "steers", "")),
        is_sensor=bool(getattr(task, "is_sensor", False)),
        reschedules=bool(getattr(task, "reschedules", False)),
        deferrable=bool(getattr(task, "deferrable", False)),
        empty=_is_empty(task) and not callbacks,
        callbacks=callbacks,
        label=task.task_display_name,
        doc=task.doc_md or task.doc or task.doc_rst or task.doc_yaml or task.doc_json,
        ui=_ui(task, options),
    )


def _setups_of(task: AbstractOperator) -> tuple[str, ...]:
    return tuple(up.task_id for up in task.upstream_list if up.is_setup) if task.is_teardown else ()


def _is_empty(task: AbstractOperator) -> bool:
    """Whether the task has nothing to run, not even a ``pre_execute`` or ``post_execute`` function."""
    return (
        task.task_type == "EmptyOperator"
        and isinstance(task, BaseOperator)
        and task._pre_execute_hook is None
        and task._post_execute_hook is None
        and not task.outlets
    )


def _ui(task: AbstractOperator, options: CompileOptions) -> Mapping[str, Any]:
    """The details of a task for views; no decision depends on them."""
    ui: dict[str, Any] = {"owner": str(_task_argument(task, "owner", options.owner))}
    place: Place | None = task.place
    if place is not None:
        ui["line"] = place.line
    if task.operator_name != task.task_type:
        ui["operator_name"] = task.operator_name
    if task.ui_color != BaseOperator.ui_color:
        ui["color"] = task.ui_color
    if task.ui_fgcolor != BaseOperator.ui_fgcolor:
        ui["fgcolor"] = task.ui_fgcolor
    fields = {
        name: value[:MAX_SHOWN_CHARACTERS]
        for name in task.template_fields
        if isinstance(value := getattr(task, name, None), str) and value
    }
    if fields:
        ui["fields"] = fields
    return ui


def _groups(dag: DAG) -> dict[str, GroupSpec]:
    groups: dict[str, GroupSpec] = {}
    for group in dag.task_group.groups():
        assert group.group_id is not None
        parent = group.parent_group.group_id if group.parent_group is not None else None
        expand: Length | None = group.expand_input.length() if group.expand_input is not None else None
        groups[group.group_id] = GroupSpec(
            group_id=group.group_id,
            parent=parent,
            expand=expand,
            label=group.group_display_name or None,
            tooltip=group.tooltip or None,
        )
    return groups


def _params(dag: DAG) -> dict[str, Any]:
    params = {name: param_to_spec(dag.params.get_param(name)) for name in dag.params}
    try:
        return json.loads(json.dumps(params, allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise InvalidDag(f"The params of DAG {dag.dag_id!r} must be JSON: {error}.") from None


def _doc(text: str | None, folder: str) -> str | None:
    """The documentation; the content of the file if ``text`` names a Markdown file in ``folder``."""
    if text is None or not text.endswith(".md") or "\n" in text:
        return text
    path = os.path.join(folder, text)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return text
