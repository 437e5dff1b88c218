"""Compiling a DAG into its spec: dates, weights, settings, checks."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbflow
from nbflow import DAG, Param, TaskGroup, TriggerRule, chain, task
from nbflow.authoring.compile import MAX_WEIGHT, CompileOptions, compile_errors
from nbflow.core.spec import DagSpec, GroupSpec, TaskSpec
from nbflow.errors import AirflowDagCycleException, AirflowTimetableInvalid, InvalidArgument, InvalidDag
from nbflow.operators.base import BaseBranchOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.latest_only import LatestOnlyOperator
from nbflow.operators.python import BranchPythonOperator, ShortCircuitOperator
from nbflow.sensors.python import PythonSensor

DAY = datetime(2024, 1, 1, tzinfo=UTC)

# A random DAG as data: tasks (some in a group), each with arguments, and edges from earlier to later tasks.
task_arguments = st.fixed_dictionaries(
    {},
    optional={
        "retries": st.integers(0, 5),
        "trigger_rule": st.sampled_from(list(TriggerRule)),
        "priority_weight": st.integers(-3, 9),
        "weight_rule": st.sampled_from(["downstream", "upstream", "absolute"]),
        "pool_slots": st.integers(1, 3),
        "execution_timeout": st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=2)),
        "retry_exponential_backoff": st.sampled_from([True, False, 3.0]),
        "depends_on_past": st.booleans(),
        "start_date": st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1)),
        "owner": st.sampled_from(["ada", "bob"]),
        "doc_md": st.text(max_size=5),
    },
)


@st.composite
def plans(draw: Any) -> dict[str, Any]:
    size = draw(st.integers(0, 8))
    pairs = st.tuples(st.integers(0, max(size - 1, 0)), st.integers(0, max(size - 1, 0))).filter(lambda p: p[0] < p[1])
    return {
        "tasks": [(draw(task_arguments), draw(st.sampled_from([None, "g", "h"]))) for _ in range(size)],
        "edges": sorted(draw(st.sets(pairs))) if size > 1 else [],
        "schedule": draw(st.sampled_from([None, "@daily", "*/5 * * * *", timedelta(hours=1), "@once"])),
        "params": draw(
            st.dictionaries(st.sampled_from("xyz"), st.integers() | st.text(max_size=3) | st.lists(st.none()))
        ),
        "tags": draw(st.sets(st.text(max_size=4))),
    }


def build(plan: dict[str, Any]) -> DAG:
    with DAG("d", schedule=plan["schedule"], start_date=DAY, params=plan["params"], tags=plan["tags"]) as dag:
        groups: dict[Any, Any] = {name: TaskGroup(name) for name in "gh"} | {None: dag.task_group}
        tasks = []
        for n, (arguments, group) in enumerate(plan["tasks"]):
            tasks.append(EmptyOperator(task_id=f"t{n}", task_group=groups[group], **arguments))
        for up, down in plan["edges"]:
            tasks[up] >> tasks[down]
    return dag


@given(plans())
def test_a_spec_survives_json(plan: dict[str, Any]) -> None:
    spec = build(plan).to_spec()
    assert DagSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@given(plans())
def test_equal_source_gives_an_equal_digest(plan: dict[str, Any]) -> None:
    assert build(plan).to_spec().digest == build(plan).to_spec().digest


def test_the_digest_does_not_depend_on_the_process(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "from nbflow import DAG, TaskGroup, task\n"
        "with DAG('d', tags={'a', 'b', 'c'}, default_args={'owner': 'ada'}) as dag:\n"
        "    with TaskGroup('g'):\n"
        "        work = [task(task_id=name)(lambda: 1)() for name in ('one', 'two', 'three', 'four')]\n"
        "    task(task_id='end')(lambda *x: 1)(*work)\n"
        "print(dag.to_spec().digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "flow.py"],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(nbflow.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


@given(plans())
def test_a_weight_is_the_sum_that_its_rule_defines(plan: dict[str, Any]) -> None:
    dag = build(plan)
    spec = dag.to_spec()
    for node in dag.tasks:
        relatives = {
            "downstream": node.get_flat_relatives(upstream=False),
            "upstream": node.get_flat_relatives(upstream=True),
            "absolute": [],
        }[node.weight_rule]
        expected = node.priority_weight + sum(relative.priority_weight for relative in relatives)
        assert spec.tasks[node.task_id].priority_weight == expected


def test_a_whole_dag() -> None:
    with DAG(
        "d", schedule="@daily", start_date=DAY, tags=["b", "a"], default_args={"retries": 2, "owner": "ada"}
    ) as dag:
        a = EmptyOperator(task_id="a")
        with TaskGroup("g", tooltip="work"):
            b = EmptyOperator(task_id="b", retries=0, retry_delay=60, on_failure_callback=print, task_display_name="B")
        a >> b
    spec = dag.to_spec()
    line = a.place.line  # type: ignore[union-attr]
    assert spec == DagSpec(
        dag_id="d",
        tasks={
            "a": TaskSpec(
                task_id="a",
                retries=2,
                priority_weight=2,
                empty=True,
                ui={"owner": "ada", "line": line, "color": "#e8f7e4"},
            ),
            "g.b": TaskSpec(
                task_id="g.b",
                upstream=("a",),
                retry_delay=60.0,
                group="g",
                callbacks=("failure",),
                label="B",
                ui={"owner": "ada", "line": line + 2, "color": "#e8f7e4"},
            ),
        },
        groups={"g": GroupSpec(group_id="g", tooltip="work")},
        schedule={"kind": "cron_interval", "cron": "@daily", "timezone": "UTC"},
        schedule_text="@daily",
        start_date=DAY,
        tags=("a", "b"),
        owners=("ada",),
    )


def test_settings_apply_where_the_dag_passes_no_argument() -> None:
    options = CompileOptions(
        max_active_tasks=3,
        max_active_runs=4,
        catchup=True,
        retries=5,
        retry_delay=7.0,
        execution_timeout=9.0,
        owner="ops",
        queue="slow",
        weight_rule="absolute",
    )
    with DAG("d", schedule="@daily", start_date=DAY) as dag:
        a = EmptyOperator(task_id="a")
        b = EmptyOperator(task_id="b", retries=1, retry_delay=2, execution_timeout=timedelta(seconds=3), owner="ada")
        a >> b
    spec = dag.to_spec(options)
    assert (spec.max_active_tasks, spec.max_active_runs, spec.catchup) == (3, 4, True)
    actual = {
        t.task_id: (t.retries, t.retry_delay, t.execution_timeout, t.ui["owner"], t.queue, t.priority_weight)
        for t in spec.tasks.values()
    }
    assert actual == {"a": (5, 7.0, 9.0, "ops", "slow", 1), "b": (1, 2.0, 3.0, "ada", "slow", 1)}


def test_an_argument_that_is_not_passed_reads_as_airflows_default() -> None:
    dag = DAG("d", max_active_tasks=3)
    assert (dag.catchup, dag.max_active_runs, dag.max_active_tasks) == (False, 16, 3)


def test_arguments_of_the_dag_override_the_settings() -> None:
    dag = DAG("d", schedule="@daily", start_date=DAY, catchup=False, max_active_tasks=1, max_active_runs=2)
    spec = dag.to_spec(CompileOptions(catchup=True, max_active_tasks=9, max_active_runs=9))
    assert (spec.catchup, spec.max_active_tasks, spec.max_active_runs) == (False, 1, 2)


@pytest.mark.parametrize(
    ("start", "expected", "zone"),
    [
        (datetime(2024, 1, 1), datetime(2023, 12, 31, 23, tzinfo=UTC), "Europe/Berlin"),
        (datetime(2024, 1, 1, tzinfo=UTC), DAY, "UTC"),
        (datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), datetime(2023, 12, 31, 15, tzinfo=UTC), "Asia/Tokyo"),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(2023, 12, 31, 23, tzinfo=UTC), "+01:00"),
    ],
)
def test_a_naive_date_is_wall_clock_time_in_the_default_zone(start, expected, zone) -> None:
    spec = DAG("d", schedule="@daily", start_date=start).to_spec(CompileOptions(timezone="Europe/Berlin"))
    assert (spec.start_date, spec.timezone) == (expected, zone)


def test_the_dag_starts_with_its_earliest_task() -> None:
    with DAG("d", schedule="@daily", default_args={"start_date": "2024-02-01"}) as dag:
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="late", start_date=datetime(2024, 3, 1, tzinfo=UTC))
    spec = dag.to_spec()
    assert spec.start_date == datetime(2024, 2, 1, tzinfo=UTC)
    assert {t.task_id: t.start_date for t in spec.tasks.values()} == {
        "a": None,
        "late": datetime(2024, 3, 1, tzinfo=UTC),
    }


def test_the_dag_ends_with_its_last_task_only_if_every_task_ends() -> None:
    end = datetime(2024, 3, 1, tzinfo=UTC)
    with DAG("d", start_date=DAY) as dag:
        EmptyOperator(task_id="a", end_date=end)
        open_ended = EmptyOperator(task_id="b")
    assert dag.to_spec().end_date is None
    open_ended.end_date = datetime(2024, 2, 1, tzinfo=UTC)
    assert dag.to_spec().end_date == end


def test_the_dags_own_dates_bound_those_of_its_tasks() -> None:
    year = [datetime(2024, month, 1, tzinfo=UTC) for month in range(1, 7)]
    with DAG("d", start_date=year[1], end_date=year[4]) as dag:
        EmptyOperator(task_id="wider", start_date=year[0], end_date=year[5])
        EmptyOperator(task_id="narrower", start_date=year[2], end_date=year[3])
    spec = dag.to_spec()
    assert (spec.start_date, spec.end_date) == (year[1], year[4])
    assert {t.task_id: (t.start_date, t.end_date) for t in spec.tasks.values()} == {
        "wider": (None, None),
        "narrower": (year[2], year[3]),
    }


def test_a_weight_fits_the_widest_integer_column() -> None:
    with DAG("d") as dag:
        a, b = (EmptyOperator(task_id=name, priority_weight=MAX_WEIGHT) for name in "ab")
        a >> b
    assert dag.to_spec().tasks["a"].priority_weight == MAX_WEIGHT


def test_continuous_has_one_active_run_by_default() -> None:
    assert DAG("d", schedule="@continuous", start_date=DAY).to_spec().max_active_runs == 1


def test_a_bad_schedule_names_the_dag() -> None:
    with pytest.raises(AirflowTimetableInvalid, match="The schedule of DAG 'd' is invalid"):
        DAG("d", schedule="0 24 * * *", start_date=DAY).to_spec()


def test_compile_errors_returns_every_error_of_a_dag() -> None:
    with DAG("d", schedule="0 24 * * *", start_date=DAY) as dag:
        s, w, x = (EmptyOperator(task_id=name) for name in "swx")
        s.as_setup() >> w
        w.trigger_rule = "all_done"
        w >> x >> w
    errors = compile_errors(dag, CompileOptions())
    assert [type(error) for error in errors] == [InvalidDag, AirflowDagCycleException, AirflowTimetableInvalid]
    with pytest.raises(AirflowDagCycleException):
        dag.to_spec()


def test_a_long_cycle_is_named_by_its_ends() -> None:
    with DAG("d") as dag:
        tasks = [EmptyOperator(task_id=f"t{n}") for n in range(100)]
        chain(*tasks, tasks[0])
    with pytest.raises(
        AirflowDagCycleException, match=r"t0 >> t1 >> .* >> t5 >> \.\.\. >> t96 .* >> t99 >> t0 \(t0 at"
    ):
        dag.to_spec()


def test_catchup_needs_a_start_date() -> None:
    with pytest.raises(InvalidDag, match="catchup=True and no start_date"):
        DAG("d", schedule="@daily", catchup=True).to_spec()


def test_catchup_without_a_schedule_needs_no_start_date() -> None:
    assert DAG("d", schedule=None, catchup=True).to_spec().start_date is None


def test_a_task_after_a_setup_must_have_the_rule_all_success() -> None:
    with DAG("d") as dag:
        setup = EmptyOperator(task_id="s").as_setup()
        setup >> EmptyOperator(task_id="w", trigger_rule="all_done")
    with pytest.raises(InvalidDag, match="'w' comes after the setup 's', so its trigger_rule must be 'all_success'"):
        dag.to_spec()


def test_a_teardown_has_the_ids_of_its_setups() -> None:
    with DAG("d") as dag:
        s, w, t = (EmptyOperator(task_id=name) for name in "swt")
        s >> w >> t.as_teardown(setups=s, on_failure_fail_dagrun=True)
    actual = dag.to_spec().tasks["t"]
    assert (actual.is_teardown, actual.setups, actual.trigger_rule, actual.on_failure_fail_dagrun) == (
        True,
        ("s",),
        "all_done_setup_success",
        True,
    )


def test_with_a_teardown_runs_its_tasks_between_setup_and_teardown() -> None:
    with DAG("d") as dag:
        s, t = EmptyOperator(task_id="s"), EmptyOperator(task_id="t")
        with t.as_teardown(setups=s):
            EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")
            EmptyOperator(task_id="c")
    spec = dag.to_spec()
    assert {task.task_id: task.upstream for task in spec.tasks.values()} == {
        "s": (),
        "a": ("s",),
        "b": ("a",),
        "c": ("s",),
        "t": ("b", "c", "s"),
    }


@pytest.mark.parametrize(
    ("arguments", "empty"),
    [({}, True), ({"on_success_callback": print}, False), ({"pre_execute": print}, False), ({"outlets": ["x"]}, False)],
)
def test_an_empty_operator_with_a_callback_hook_or_outlet_is_not_empty(arguments, empty) -> None:
    with DAG("d") as dag:
        EmptyOperator(task_id="t", **arguments)
    assert dag.to_spec().tasks["t"].empty is empty


def test_a_mapped_sensor_has_the_mode_of_its_shared_arguments() -> None:
    with DAG("d") as dag:
        for mode in ("poke", "reschedule"):
            PythonSensor.partial(task_id=mode, python_callable=print, mode=mode).expand(op_args=[[1], [2]])
        PythonSensor.partial(task_id="default", python_callable=print).expand(op_args=[[1], [2]])
    actual = {task.task_id: (task.is_sensor, task.reschedules) for task in dag.to_spec().tasks.values()}
    assert actual == {"poke": (True, False), "reschedule": (True, True), "default": (True, False)}


def test_a_task_that_may_skip_downstream_tasks_is_marked() -> None:
    class Mine(BaseBranchOperator):
        pass

    with DAG("d") as dag:
        Mine(task_id="mine")
        LatestOnlyOperator(task_id="latest")
        BranchPythonOperator(task_id="branch", python_callable=print)
        ShortCircuitOperator(task_id="all", python_callable=print)
        closes = {"python_callable": print, "ignore_downstream_trigger_rules": False}
        ShortCircuitOperator(task_id="direct", **closes)
        ShortCircuitOperator.partial(task_id="mapped", **closes).expand(op_args=[[1], [2]])
        task.branch(lambda: None, task_id="task.branch")()
        task.short_circuit(lambda: None, task_id="task.short_circuit")()
        EmptyOperator(task_id="none")
    actual = {task_id: spec.steers for task_id, spec in dag.to_spec().tasks.items() if spec.steers}
    assert actual == {
        "mine": "direct",
        "latest": "direct",
        "branch": "direct",
        "all": "all",
        "direct": "direct",
        "mapped": "direct",
        "task.branch": "direct",
        "task.short_circuit": "all",
    }


def test_params_are_stored_with_their_schema() -> None:
    dag = DAG("d", params={"x": 3, "y": Param("a", "which", enum=["a", "b"]), "z": Param(type="integer")})
    assert dag.to_spec().params == {
        "x": {"value": 3, "schema": {}, "description": None},
        "y": {"value": "a", "schema": {"enum": ["a", "b"]}, "description": "which"},
        "z": {"schema": {"type": "integer"}, "description": None},
    }


def test_a_default_that_no_operator_accepts_is_warned_of() -> None:
    with DAG("d", default_args={"retrys": 3, "retries": 1}) as dag:
        EmptyOperator(task_id="t")
    with pytest.warns(UserWarning, match="has 'retrys', which none of its operators accepts. Did you mean 'retries'"):
        dag.to_spec()


def test_a_correct_dag_has_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with DAG("d", schedule="@daily", start_date=DAY, default_args={"retries": 1}) as dag:
            EmptyOperator(task_id="t")
        dag.to_spec()


@pytest.mark.parametrize(
    "arguments",
    [{"dag_display_name": 5}, {"owner_links": "https://example.org"}, {"owner_links": ["https://example.org"]}],
    ids=str,
)
def test_an_argument_of_the_wrong_type_is_refused_by_its_name(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"{next(iter(arguments))} of DAG 'd' must be of type"):
        DAG("d", **arguments)
