"""simulate(): the runs of a DAG in the coming days, and the assumptions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nbflow.core.snapshot import TaskKey
from nbflow.core.spec import GroupSpec, TaskSpec
from nbflow.core.timetables import timetable_from_schedule
from nbflow.errors import InvalidArgument
from nbflow.sim import Behaviour, ScriptedOutcomes, World, outcomes_of_last_run, parse_script, simulate
from tests.other_processes import printed
from tests.sim.shapes import chain, dag_of, utc

START = utc(2024, 1, 1)


def test_the_text_of_a_simulation_is_a_table_with_causes() -> None:
    # Given two runs, of which the second fails in its second task
    outcomes = parse_script(["t1@2024-01-01T01=fail", "t0.seconds=90"])

    simulation = simulate(chain(3), start=START, days=2.05 / 24, outcomes=outcomes)

    assert (
        simulation.text()
        == """\
d, simulated from 2024-01-01 00:00 to 2024-01-01 02:03: 2 runs (1 success, 1 failed)
  assumed: 2 tasks behave as scripted.
  assumed: Every other task succeeds after 1 min.
  assumed: The executor has 32 slots.

logical date      due                  late     took state    tasks
2024-01-01 00:00  2024-01-01 01:00    0m00s    3m30s success  +++
2024-01-01 01:00  2024-01-01 02:00    0m00s    8m30s failed   +rxu
                    t1 up_for_retry: its code raised
                    t1 failed (try 2): its code raised
                    t2 upstream_failed: its trigger rule can no longer be met"""
    )


def test_equal_inputs_give_equal_simulations() -> None:
    assert simulate(chain(), start=START, days=1) == simulate(chain(), start=START, days=1)


def test_a_simulation_is_the_same_in_another_process() -> None:
    code = "from tests.sim.test_simulate import *; print(simulate(chain(), start=START, days=1).text())"
    assert printed(code) == {simulate(chain(), start=START, days=1).text()}


def test_runs_before_the_start_are_not_simulated_and_this_is_an_assumption() -> None:
    later = START + timedelta(days=400)

    simulation = simulate(chain(1), start=later, days=3 / 24)

    assert [run.logical_date for run in simulation.runs] == [
        later,
        later + timedelta(hours=1),
        later + timedelta(hours=2),
    ]
    assert "Runs before 2025-02-04T00:00:00+00:00 are not simulated." in simulation.assumptions


def test_without_catchup_the_first_run_is_that_of_the_last_interval() -> None:
    dag = chain(1, schedule="@daily", catchup=False)
    simulation = simulate(dag, start=START + timedelta(days=30, hours=5), days=2)
    assert [run.logical_date for run in simulation.runs] == [START + timedelta(days=n) for n in (29, 30, 31)]


def test_a_dag_without_a_schedule_is_triggered_once() -> None:
    simulation = simulate(chain(1, schedule=None), start=START)
    assert [(run.run_type, run.state) for run in simulation.runs] == [("manual", "success")]


def test_branches_follow_their_first_choice_and_results_have_one_item() -> None:
    # Given a branch, and a task that is mapped over a result
    tasks = {
        "choose": TaskSpec(task_id="choose", operator="BranchPythonOperator"),
        "left": TaskSpec(task_id="left", upstream=("choose",), operator="PythonOperator", feeds_mapping=True),
        "right": TaskSpec(task_id="right", upstream=("choose",), operator="PythonOperator"),
        "each": TaskSpec(task_id="each", upstream=("left",), operator="PythonOperator", expand=("task", "left")),
    }

    simulation = simulate(dag_of(tasks, schedule=None), start=START)

    states = {str(entry.key): entry.state for entry in simulation.runs[0].entries}
    assert states == {"choose": "success", "left": "success", "right": "skipped", "each[0]": "success"}
    assert simulation.assumptions[1:3] == (
        "Branch choose follows its first choice: left.",
        "The result of left has length 1.",
    )


def test_a_task_that_waits_forever_is_listed_with_its_reason() -> None:
    dag = dag_of({"t": TaskSpec(task_id="t", operator="PythonOperator", depends_on_past=True)})
    simulation = simulate(dag, start=START, days=2 / 24, outcomes=parse_script(["t=fail"]))
    assert [(name, wait.kind) for name, wait in simulation.waits.items()] == [
        ("scheduled__2024-01-01T02:00:00+00:00 t", "past")
    ]


def test_an_undefined_pool_has_no_limit_and_this_is_an_assumption() -> None:
    dag = dag_of({"t": TaskSpec(task_id="t", operator="PythonOperator", pool="db")})
    simulation = simulate(dag, start=START, days=1 / 24)
    assert [run.state for run in simulation.runs] == ["success"]
    assert "Pool db is not defined and is assumed to have no limit." in simulation.assumptions


def test_outcomes_of_the_last_run_have_its_durations_choices_and_lengths() -> None:
    # Given a run in which a branch chose right and a result had three items
    tasks = {
        "choose": TaskSpec(task_id="choose", operator="BranchPythonOperator"),
        "left": TaskSpec(task_id="left", upstream=("choose",), operator="PythonOperator"),
        "right": TaskSpec(task_id="right", upstream=("choose",), operator="PythonOperator", feeds_mapping=True),
        "each": TaskSpec(task_id="each", upstream=("right",), operator="PythonOperator", expand=("task", "right")),
    }
    scripted = ScriptedOutcomes(
        tasks={
            "choose": Behaviour(seconds=5, follow=("right",)),
            "right": Behaviour(seconds=7, length=3),
            "each[1]": Behaviour(seconds=9),
        }
    )
    world = World([dag_of(tasks)], start=START, outcomes=scripted)
    world.run_until(START + timedelta(hours=1))
    world.drain()

    # When the next run is simulated with its outcomes
    outcomes = outcomes_of_last_run(world.store, "d")
    simulation = simulate(dag_of(tasks), start=START, days=1 / 24, store=world.store)

    # Then its choices and durations are the same
    assert outcomes.source == "run scheduled__2024-01-01T01:00:00+00:00"
    entries = simulation.runs[0].entries
    durations = {str(entry.key): entry.end - entry.start for entry in entries if entry.end and entry.state == "success"}
    assert durations == {
        "choose": timedelta(seconds=5),
        "right": timedelta(seconds=7),
        "each[0]": timedelta(seconds=60),
        "each[1]": timedelta(seconds=9),
        "each[2]": timedelta(seconds=60),
    }


def test_the_indexes_of_a_mapped_group_are_independent() -> None:
    # Given a group of two tasks, mapped over three items, of which the second fails in its first task
    tasks = {
        "g.a": TaskSpec(task_id="g.a", operator="PythonOperator", group="g"),
        "g.b": TaskSpec(task_id="g.b", operator="PythonOperator", group="g", upstream=("g.a",)),
    }
    dag = replace(dag_of(tasks, schedule=None), groups={"g": GroupSpec(group_id="g", expand=("lit", 3))})

    simulation = simulate(dag, start=START, outcomes=parse_script(["g.a[1]=fail_hard"]))

    states = {entry.key: entry.state for entry in simulation.runs[0].entries}
    assert states == {
        TaskKey("g.a", 0): "success",
        TaskKey("g.a", 1): "failed",
        TaskKey("g.a", 2): "success",
        TaskKey("g.b", 0): "success",
        TaskKey("g.b", 1): "upstream_failed",
        TaskKey("g.b", 2): "success",
    }


@pytest.mark.parametrize("text", ["t0", "=fail", "t0=explode", "t0.skip=some"])
def test_an_invalid_outcome_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is invalid"):
        parse_script([text])


def test_a_simulation_of_too_many_runs_is_refused_at_once() -> None:
    schedule = timetable_from_schedule("*/10 * * * * *").to_spec()
    every_ten_seconds = replace(chain(1), schedule=schedule)
    with pytest.raises(InvalidArgument, match="more than 20,000 runs"):
        simulate(every_ten_seconds, start=START, days=400)


def test_a_simulation_reports_its_progress() -> None:
    # Given two simulations of the same days, of which one reports
    reported: list[int] = []
    silent = simulate(chain(1), start=START, days=2)
    reporting = simulate(chain(1), start=START, days=2, progress=reported.append)

    # Then it reports every percent, and the result is the same
    assert reported == list(range(1, 101))
    assert reporting.trace == silent.trace
