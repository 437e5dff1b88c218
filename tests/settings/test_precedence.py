"""An argument of a call overrides the setting. Between them is `%config`, which the tests of the magics cover."""

from __future__ import annotations

from nbflow.notebook import simulate
from tests.settings.conftest import OpenHome

DAG = "with DAG('d', schedule='@daily', start_date=datetime(2024, 2, 1)): EmptyOperator(task_id='t')"


def test_a_seed_argument_overrides_the_setting(open_home: OpenHome):
    with open_home("sim.seed", "42") as home:
        home.registered(DAG)
        command = home.run("simulate", "d", "--days", "1", "--seed", "7")[1]
        function = simulate("d", days=1, seed=7).data.assumptions
    assert ("random (seed 7):" in command, "random (seed 7):" in " ".join(function)) == (True, True)


def test_outcome_arguments_override_the_setting(open_home: OpenHome):
    with open_home("sim.seed", "42") as home:
        home.registered(DAG)
        assert "drawn from" not in home.run("simulate", "d", "t=fail", "--days", "1")[1]


def test_a_seed_that_is_not_a_number_is_refused(open_home: OpenHome):
    with open_home("sim.seed", "seven") as home:
        error = home.run("simulate", "d")[2]
    assert error == "nbflow: NBFLOW__SIM__SEED: expected a whole number, or nothing, got 'seven'.\n"


def test_the_command_and_the_function_have_the_same_results(open_home: OpenHome):
    # Given a home with a seed
    with open_home("sim.seed", "42") as home:
        home.registered(DAG)
        command = home.run_json("simulate", "d", "-s", "2024-03-01", "--days", "3")
        runs = simulate("d", start="2024-03-01", days=3).data.runs
    assert [(run["run_id"], run["state"]) for run in command] == [(run.key.run_id, run.state) for run in runs]
    assert runs
