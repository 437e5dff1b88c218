"""What is asked for in a call goes before the setting; `%config`, which lies between, is tested with the magics."""

from __future__ import annotations

from nbflow.notebook import simulate
from tests.settings.conftest import Places

DAG = "with DAG('d', schedule='@daily', start_date=datetime(2024, 2, 1)): EmptyOperator(task_id='t')"


def test_a_seed_that_is_given_goes_before_the_setting(place: Places):
    with place("sim.seed", "42") as here:
        here.registered(DAG)
        command = here.run("simulate", "d", "--days", "1", "--seed", "7")[1]
        function = simulate("d", days=1, seed=7).data.assumptions
    assert ("drawn from seed 7:" in command, "drawn from seed 7:" in " ".join(function)) == (True, True)


def test_outcomes_that_are_told_go_before_a_seed_that_is_set(place: Places):
    with place("sim.seed", "42") as here:
        here.registered(DAG)
        assert "drawn from" not in here.run("simulate", "d", "t=fail", "--days", "1")[1]


def test_a_seed_that_is_no_number_is_refused(place: Places):
    with place("sim.seed", "seven") as here:
        error = here.run("simulate", "d")[2]
    assert error == "nbflow: NBFLOW__SIM__SEED: expected a whole number, or nothing, got 'seven'.\n"


def test_the_command_and_the_magic_simulate_alike(place: Places):
    # Given a home with few executor slots and a seed
    with place("sim.seed", "42") as here:
        here.registered(DAG)
        command = here.listed("simulate", "d", "-s", "2024-03-01", "--days", "3")
        runs = simulate("d", start="2024-03-01", days=3).data.runs
    assert [(run["run_id"], run["state"]) for run in command] == [(run.key.run_id, run.state) for run in runs]
    assert runs
