"""Random DAGs, to test the core with unusual graphs.

``draw`` is a :class:`random.Random`, or an object with its methods: Hypothesis's ``randoms()`` makes the same DAGs and
can shrink them. All DAGs are valid for the authoring layer: a task is mapped only over a task before it, a teardown's
setups are among its upstream tasks, and nothing is mapped inside a mapped group.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nbflow.core.spec import DagSpec, GroupSpec, Length, TaskSpec
from nbflow.core.timetables import timetable_from_schedule
from nbflow.core.trigger_rules import TriggerRule

START = datetime(2024, 1, 1, tzinfo=UTC)
POOLS = {"small": 2, "tiny": 1}
"""Pools that random tasks may use; the simulated world must define them."""
SCHEDULES = ("@hourly", "0 */3 * * *", "30 */6 * * *", "@daily")
_RULES = tuple(rule.value for rule in TriggerRule if rule is not TriggerRule.ALL_DONE_SETUP_SUCCESS)
_PLAIN = ("all_success",) * 8
"""Most tasks have the default rule: with a random rule for each task, most tasks are skipped or fail."""
_STEERS = {"BranchPythonOperator": "direct", "ShortCircuitOperator": "all"}
_CALLBACKS = ("execute", "success", "failure", "retry", "skipped")


def random_dag(
    draw: random.Random, *, dag_id: str = "drawn", most_tasks: int = 8, rules: Sequence[str] = ()
) -> DagSpec:
    """A DAG of 1 to ``most_tasks`` tasks (a setup may bring a teardown). ``rules``: the trigger rules to draw from."""
    tasks: dict[str, TaskSpec] = {}
    groups: dict[str, GroupSpec] = {}
    mapped_over: set[str] = set()
    group: str | None = None
    for number in range(draw.randint(1, most_tasks)):
        task_id = f"t{number}"
        upstream = {other for other in tasks if draw.random() < 2 / max(len(tasks), 1)} if tasks else set()
        group = _next_group(draw, group, tasks, groups)
        expand, source = _mapping(draw, tasks, group)
        if source is not None and group is None:
            upstream.add(source)
        group_length = groups[group].expand if group else None
        if group_length is not None and group_length[0] == "task":
            upstream.add(group_length[1])
            mapped_over.add(group_length[1])
        if source is not None:
            mapped_over.add(source)
        tasks[task_id] = _task(draw, task_id, upstream, group, expand, [*_PLAIN, *(rules or _RULES)])
    tasks = {task_id: replace(task, feeds_mapping=task_id in mapped_over) for task_id, task in tasks.items()}
    _with_teardown(draw, tasks)
    timetable = timetable_from_schedule(draw.choice(SCHEDULES))
    return DagSpec(
        dag_id=dag_id,
        tasks=tasks,  # each depends only on tasks drawn before it, so the order is topological
        groups=groups,
        schedule=timetable.to_spec(),
        schedule_text=timetable.summary,
        start_date=START,
        catchup=True,
        max_active_runs=draw.choice((1, 2, 16)),
        max_active_tasks=draw.choice((1, 3, 16)),
        dagrun_timeout=draw.choice((None, None, None, 1800.0)),
        fail_fast=draw.random() < 0.1,
        callbacks=tuple(kind for kind in ("success", "failure") if draw.random() < 0.2),
    )


def _next_group(
    draw: random.Random, group: str | None, tasks: dict[str, TaskSpec], groups: dict[str, GroupSpec]
) -> str | None:
    if group is not None:
        return group if draw.random() < 0.6 else None
    if draw.random() >= 0.15:
        return None
    name = f"g{len(groups)}"
    groups[name] = GroupSpec(group_id=name, expand=_length(draw, tasks))
    return name


def _length(draw: random.Random, tasks: dict[str, TaskSpec]) -> Length:
    outside = [task_id for task_id, task in tasks.items() if task.group is None and task.expand is None]
    if outside and draw.random() < 0.6:
        return ("task", draw.choice(outside))
    return ("lit", draw.randint(0, 3))


def _mapping(draw: random.Random, tasks: dict[str, TaskSpec], group: str | None) -> tuple[Length | None, str | None]:
    if group is not None or draw.random() >= 0.2:
        return None, None
    length = _length(draw, tasks)
    return length, length[1] if length[0] == "task" else None


def _task(
    draw: random.Random,
    task_id: str,
    upstream: set[str],
    group: str | None,
    expand: Length | None,
    rules: Sequence[str],
) -> TaskSpec:
    rule = draw.choice(rules)
    if rule == TriggerRule.ALWAYS and (group or expand):  # refused by the authoring layer, as by Airflow
        rule = "all_success"
    optional: dict[str, Any] = {
        "depends_on_past": True,
        "wait_for_downstream": True,
        "pool": draw.choice(tuple(POOLS)),
        "max_active_tis_per_dag": draw.randint(1, 2),
        "max_active_tis_per_dagrun": draw.randint(1, 2),
        "execution_timeout": 120.0,
        "reschedules": True,
        "deferrable": True,
        "empty": True,
        "retry_backoff": 2.0,
        "priority_weight": draw.randint(-3, 10),
        "callbacks": tuple(kind for kind in _CALLBACKS if draw.random() < 0.5),
    }
    drawn = {name: value for name, value in optional.items() if draw.random() < 0.08}
    if drawn.get("callbacks"):
        drawn.pop("empty", None)
    if "wait_for_downstream" in drawn:
        drawn["depends_on_past"] = True
    operator = draw.choice(("PythonOperator",) * 5 + tuple(_STEERS))
    return TaskSpec(
        task_id=task_id,
        operator=operator,
        steers=_STEERS.get(operator, ""),
        upstream=tuple(sorted(upstream)),
        trigger_rule=rule,
        retries=draw.choice((0, 0, 1, 2)),
        retry_delay=draw.choice((0.0, 60.0, 300.0)),
        group=group,
        expand=expand,
        **drawn,
    )


def _with_teardown(draw: random.Random, tasks: dict[str, TaskSpec]) -> None:
    """With probability 1/4, make a task a setup; usually also add a teardown, downstream of some of its tasks."""
    plain = [t for t, task in tasks.items() if task.group is None and task.expand is None and not task.empty]
    if not plain or draw.random() >= 0.25:
        return
    setup = draw.choice(plain)
    tasks[setup] = replace(tasks[setup], is_setup=True, operator="PythonOperator")
    if draw.random() < 0.2:
        return  # a setup without a teardown: everything after it is in its scope
    downstream = [t for t, task in tasks.items() if setup in task.upstream and task.group is None]
    in_scope = {task_id for task_id in downstream if draw.random() < 0.7}
    tasks["down"] = TaskSpec(
        task_id="down",
        upstream=tuple(sorted({setup} | in_scope)),
        trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS,
        is_teardown=True,
        on_failure_fail_dagrun=draw.random() < 0.3,
        setups=(setup,),
        operator="PythonOperator",
    )
