"""The pytest plugin nbflow.testing in a user's test suite."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

DAGS = """
from datetime import datetime
from nbflow import DAG, Variable, task

with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1), params={"rate": 2}) as dag:
    @task
    def extract(ds=None):
        return {"day": ds, "rows": [1, 2, 3]}

    @task
    def rows(extracted):
        return extracted["rows"]

    @task
    def double(number, params=None):
        return number * params["rate"]

    @task
    def total(numbers):
        return sum(numbers)

    @task
    def region():
        return Variable.get("region")

    total(double.expand(number=rows(extract()))) >> region()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project: a folder with a DAG file."""
    folder = pytester.mkdir("dags")
    (folder / "sales.py").write_text(DAGS)
    return pytester


def run(suite: pytest.Pytester, tests: str, *words: str) -> pytest.RunResult:
    suite.makepyfile(tests)
    # In a subprocess, since modules would be loaded twice in this process.
    return suite.runpytest_subprocess("-p", "nbflow.testing", "-p", "no:cacheprovider", *words)


def test_the_dagbag_has_the_dags_and_import_errors_of_the_folder(suite):
    (suite.path / "dags" / "broken.py").write_text("from nbflow import DAG\n\nDAG('a b', schedule='@dayly')\n")
    result = run(
        suite,
        """
        import pytest
        from nbflow.errors import DagNotFound

        def test_bag(dagbag):
            assert list(dagbag) == ["sales"]
            assert dagbag.size() == len(dagbag) == 1
            assert "sales" in dagbag
            assert dagbag["sales"].task_ids == ["extract", "rows", "double", "total", "region"]
            assert dagbag.get_dag("nothing") is None
            assert list(dagbag.import_errors) == ["broken.py"]
            assert dagbag.import_errors["broken.py"].startswith("line 3: ")
            with pytest.raises(DagNotFound, match="Did you mean 'sales'"):
                dagbag["slaes"]
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_import_error_of_a_moved_module_names_the_new_module(suite):
    (suite.path / "dags" / "old.py").write_text("from nbflow.dag.context import Context\n")
    result = run(
        suite,
        """
        def test_bag(dagbag):
            assert dagbag.import_errors == {
                "old.py": "line 1: ModuleNotFoundError: No module named 'nbflow.dag'. "
                "nbflow.dag.context moved to nbflow.authoring.context. Write: from nbflow import Context"
            }
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_folder_is_set_by_an_option_or_in_the_ini_file(suite):
    (suite.path / "dags").rename(suite.path / "flows")
    suite.makeini("[pytest]\nnbflow_dags_folder = flows\n")
    tests = "def test_bag(dagbag):\n    assert dagbag.folder.name == 'flows' and list(dagbag) == ['sales']\n"
    run(suite, tests).assert_outcomes(passed=1)
    result = run(suite, "def test_bag(dagbag): pass", "--dags-folder", "nowhere")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*The DAGs folder *nowhere does not exist; set --dags-folder*"])


TESTS = """
import os

import pytest


def test_a_single_task(dagbag, run_task):
    result = run_task(dagbag["sales"], "extract", logical_date="2024-01-05")
    assert (result.state, result.value) == ("success", {"day": "2024-01-05", "rows": [1, 2, 3]})


def test_results_of_upstream_tasks(dagbag, run_task):
    result = run_task(dagbag["sales"], "rows", upstream={"extract": {"rows": [7]}})
    assert result.value == [7]


def test_one_instance_of_a_mapped_task(dagbag, run_task):
    result = run_task(dagbag["sales"], "double", upstream={"rows": [5, 6]}, map_index=1, conf={"rate": 10})
    assert result.value == 60


def test_a_task_downstream_of_a_mapped_task(dagbag, run_task):
    assert run_task(dagbag["sales"], "total", upstream={"double": [5, 6]}).value == 11


def test_a_failure_is_a_result(dagbag, run_task):
    result = run_task(dagbag["sales"], "region")
    assert (result.state, result.value) == ("failed", None)
    assert result.error.startswith("VariableNotFound: Variable region does not exist.")


def test_variables_come_from_the_environment(dagbag, run_task, monkeypatch):
    monkeypatch.setenv("NBFLOW_VAR_REGION", "eu")
    assert run_task(dagbag["sales"], "region").value == "eu"


def test_a_whole_run(dagbag, run_dag, monkeypatch):
    monkeypatch.setenv("NBFLOW_VAR_REGION", "eu")
    result = run_dag(dagbag["sales"], logical_date="2024-01-05", conf={"rate": 3})
    assert result.state == "success"
    assert result.states == {
        "extract": "success",
        "rows": "success",
        "double": ["success"] * 3,
        "total": "success",
        "region": "success",
    }
    assert (result.value("double"), result.value("total"), result.value("region")) == ([3, 6, 9], 18, "eu")
    assert result.errors == {}


def test_a_failed_run(dagbag, run_dag):
    result = run_dag(dagbag["sales"])
    assert (result.state, result.states["region"], list(result.errors)) == ("failed", "failed", ["region"])


@pytest.mark.parametrize("repetition", [1, 2])
def test_each_test_has_its_own_metastore(repetition, dagbag, run_dag, nbflow_app):
    assert nbflow_app.store.runs() == []
    assert run_dag(dagbag["sales"], mark_success_pattern="region").state == "success"
    assert os.environ["NBFLOW_HOME"] == str(nbflow_app.settings.home)


def test_a_simulation(dagbag, simulate):
    simulation = simulate(dagbag["sales"], "total=fail_hard", start="2024-01-01", days=3)
    assert [run.state for run in simulation.runs] == ["failed"] * 3
    assert simulate(dagbag["sales"], start="2024-01-01", days=3).runs[0].state == "success"
"""


def test_the_fixtures_run_tasks_dags_and_simulations_without_the_users_home(suite, home):
    run(suite, TESTS).assert_outcomes(passed=11)
    assert not home.exists()
