"""The effects and the output of commands."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nbflow import __version__
from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState
from tests.cli.conftest import BROKEN, FAILING, SALES

# ---------------------------------------------------------------------------------------------------- general, settings


def test_version(nbflow):
    assert nbflow("version").out == nbflow("--version").out == f"{__version__}\n"


def test_info_shows_no_password(nbflow, monkeypatch):
    monkeypatch.setenv("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg://ada:hush@db.example/nbflow")
    row = nbflow("info", "-o", "json").json
    assert row["metastore"] == "postgresql+psycopg://ada:***@db.example/nbflow"
    assert row["nbflow"] == __version__


def test_the_cheat_sheet_has_every_command(nbflow):
    from nbflow.cli.main import GROUPS, commands_of

    names = [f"nbflow {command.name}" for group in GROUPS for command in commands_of(group)]
    assert [row["command"] for row in nbflow("cheat-sheet", "-o", "json").json] == names


def test_config_list_shows_the_source_of_a_value(nbflow, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "7")
    rows = nbflow("config", "list", "--only-set", "-o", "json").json
    assert rows == [{"section": "core", "option": "parallelism", "value": "7", "source": "AIRFLOW__CORE__PARALLELISM"}]
    assert nbflow("config", "get-value", "core", "parallelism").out == "7\n"


def test_config_hides_secrets(nbflow):
    assert nbflow("config", "get-value", "database", "sql_alchemy_conn").out == "< hidden >\n"
    shown = nbflow("config", "get-value", "database", "sql_alchemy_conn", "--show-values").out
    assert shown.startswith("sqlite:////")


# ----------------------------------------------------------------------------------------------------------------- dags


def test_dags_list_without_a_scheduler_notes_unparsed_files(nbflow, in_folder, home):
    # Given a file that no scheduler has parsed
    in_folder("sales.py", SALES)
    # Then the metastore has no DAG, and a note says how to parse the file
    result = nbflow("dags", "list", "-o", "json")
    assert result.json == []
    assert result.err == (
        f"1 new file in {home}/dags has not been parsed yet: no scheduler is running. "
        "Start one with: nbflow scheduler. Or add --local.\n"
    )


def test_dags_list_local_loads_the_files(nbflow, in_folder):
    path = in_folder("sales.py", SALES)
    broken = in_folder("broken.py", BROKEN)
    result = nbflow("dags", "list", "--local", "-o", "json", "--columns", "dag_id,schedule,is_paused,tags,fileloc")
    assert result.json == [
        {"dag_id": "sales", "schedule": "@daily", "is_paused": None, "tags": "shop", "fileloc": path}
    ]
    assert result.err.startswith(f"{broken}:4: AirflowTimetableInvalid: ")


def test_a_dag_that_is_not_in_the_metastore_is_loaded_from_the_folder(nbflow, in_folder):
    path = in_folder("sales.py", SALES)
    result = nbflow("tasks", "list", "sales")
    assert result.out == "double\nextract\nload\n"
    assert result.err == f"DAG sales is not in the metastore yet; it was loaded from {path}.\n"


def test_triggering_a_dag_that_is_not_in_the_metastore_registers_it(nbflow, in_folder):
    # Given a file that no scheduler has parsed
    path = in_folder("sales.py", SALES)
    # When its DAG is triggered
    triggered = nbflow("dags", "trigger", "sales", "-o", "json")
    # Then it is registered, and paused like every new DAG
    assert triggered.json["state"] == "queued"
    assert f"DAG sales was not in the metastore yet; it was loaded from {path}." in triggered.err
    assert "DAG 'sales' is paused." in triggered.err
    assert [row["dag_id"] for row in nbflow("dags", "list", "-o", "json").json] == ["sales"]


def test_commands_warn_of_a_stale_dag(nbflow, in_folder, app):
    # Given a stale DAG
    path = in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    app.store.set_stale(["sales"], True, now=app.clock.now())
    # When it is triggered and unpaused
    triggered, unpaused = nbflow("dags", "trigger", "sales", "-o", "json"), nbflow("dags", "unpause", "sales")
    # Then both warn
    assert (triggered.code, triggered.json["state"]) == (0, "queued")
    assert f"{path} does not define DAG sales anymore: the run uses its last version.\n" in triggered.err
    assert "No file defines DAG sales anymore: it gets no scheduled runs.\n" in unpaused.err


def test_modules_without_dags_are_not_counted_as_unparsed(nbflow, in_folder):
    in_folder("helpers.py", "NAME = 1\n")
    assert nbflow("dags", "list").err == ""
    in_folder("sales.py", SALES)
    for listing in ("list", "list-import-errors"):
        assert nbflow("dags", listing).err.startswith("1 new file in ")


def test_a_dag_that_was_only_tested_can_be_unpaused(nbflow, in_folder, app):
    # Given a DAG of the folder that only dags test has registered
    in_folder("sales.py", SALES)
    nbflow("dags", "test", "sales")
    # When it is unpaused
    result = nbflow("dags", "unpause", "sales", "-o", "json")
    # Then it is scheduled
    assert (result.code, result.json) == (0, [{"dag_id": "sales", "is_paused": False}])
    assert [(row.dag_id, row.paused) for row in app.store.dags()] == [("sales", False)]


def test_a_dag_of_another_folder_cannot_be_paused(nbflow, sales):
    nbflow("dags", "test", "sales", "-S", sales)
    result = nbflow("dags", "pause", "sales")
    assert (result.code, result.out) == (1, "")
    assert "it was registered only for single runs. Save its file in the DAGs folder." in result.err


def test_pause_and_unpause(nbflow, in_folder, app):
    in_folder("sales.py", SALES)
    assert nbflow("dags", "unpause", "sales", "-o", "json").json == [{"dag_id": "sales", "is_paused": False}]
    assert app.store.dag("sales").paused is False
    assert nbflow("dags", "pause", "s.*", "--treat-dag-id-as-regex", "-o", "json").json == [
        {"dag_id": "sales", "is_paused": True}
    ]


def test_delete_needs_confirmation(nbflow, in_folder, app):
    in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    unconfirmed = nbflow("dags", "delete", "sales")
    assert unconfirmed.code == 2
    assert unconfirmed.err.endswith("Standard input is not a terminal. Confirm with -y.\n")
    assert app.store.dag("sales") is not None
    assert nbflow("dags", "delete", "sales", "--yes").code == 0
    assert app.store.dag("sales") is None


def test_dags_check_lists_every_error_with_its_line_number(nbflow, dag_file):
    good, bad = dag_file("sales.py", SALES), dag_file("broken.py", BROKEN)
    result = nbflow("dags", "check", good, bad)
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0] == f"{good}: sales: no errors"
    assert lines[1].startswith(f"{bad}:4: AirflowTimetableInvalid: The schedule of DAG 'broken' is invalid: ")
    assert nbflow("dags", "check", good).code == 0


def test_dags_check_of_a_file_without_a_dag(nbflow, dag_file):
    path = dag_file("nothing.py", "x = 1\n")
    result = nbflow("dags", "check", path, "-o", "json")
    assert result.json == [{"filepath": path, "line": None, "error": "the file defines no DAG"}]
    assert result.code == 1


def test_dags_check_of_a_file_with_a_syntax_error(nbflow, dag_file):
    path = dag_file("syntax.py", "from nbflow import DAG\ndef (:\n")
    rows = nbflow("dags", "check", path, "-o", "json").json
    assert [(row["line"], row["error"].split(":")[0]) for row in rows] == [(2, "SyntaxError")]


def test_lint_checks_the_folder(nbflow, in_folder):
    in_folder("sales.py", SALES)
    bad = in_folder("broken.py", BROKEN)
    result = nbflow("lint", "-o", "json")
    assert [(row["filepath"], row["line"]) for row in result.json] == [(bad, 4)]
    assert result.code == 1


def test_report_has_one_row_per_file(nbflow, in_folder):
    path = in_folder("sales.py", SALES)
    (row,) = nbflow("dags", "report", "-o", "json").json
    assert row.pop("seconds") > 0
    assert row == {"file": path, "dag_num": 1, "task_num": 3, "dags": "sales", "errors": 0}


def test_show_prints_dot(nbflow, sales):
    assert nbflow("dags", "show", "sales", "-S", sales).out == (
        "digraph sales {\n"
        '\tgraph [fontname="sans-serif" label=sales labelloc=t rankdir=LR]\n'
        '\tnode [fillcolor="#ffffff" fontname="sans-serif" shape=box style="rounded,filled"]\n'
        '\tedge [fontname="sans-serif" fontsize=11]\n'
        "\textract [label=extract]\n"
        '\tdouble [label="double [ ]"]\n'
        "\tload [label=load]\n"
        "\textract -> double\n"
        "\tdouble -> load\n"
        "}\n"
    )


@pytest.mark.parametrize(("name", "start"), [("a.svg", "<svg "), ("a.dot", "digraph sales")])
def test_show_saves_without_graphviz(nbflow, sales, tmp_path, name, start):
    path = tmp_path / name
    assert nbflow("dags", "show", "sales", "-S", sales, "--save", str(path)).code == 0
    assert path.read_text().startswith(start)


def test_show_saves_png_by_graphviz(nbflow, sales, tmp_path, dot_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(dot_path).parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "a.png"
    assert nbflow("dags", "show", "sales", "-S", sales, "--save", str(path)).code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_error_of_show_without_graphviz_says_what_to_install(nbflow, sales, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "a.png"))
    assert result.err == (
        "nbflow: A .png file needs Graphviz, and its program dot is not on PATH. "
        "Install Graphviz (apt-get install graphviz), or save as .svg or .dot.\n"
    )
    assert result.code == 1


def test_next_executions_have_adjacent_data_intervals(nbflow, sales):
    # When the next two runs of a DAG are listed
    result = nbflow("dags", "next-execution", "sales", "-S", sales, "-n", "2", "-o", "json")
    # Then their data intervals are adjacent
    first, second = result.json
    assert first["data_interval_end"] == second["data_interval_start"] == second["logical_date"]
    assert nbflow("dags", "next-execution", "sales", "-S", sales).out.strip() == first["logical_date"]


def test_next_execution_of_a_dag_without_schedule(nbflow, dag_file):
    result = nbflow("dags", "next-execution", "failing", "-S", dag_file("failing.py", FAILING))
    assert (result.out, result.code) == ("None\n", 0)
    assert "No next run" in result.err


def test_state_of_a_run_by_id_and_by_date(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("dags", "state", "sales", "manual__2024-01-05T00:00:00+00:00").out == "success\n"


def test_dags_clear_queues_a_run_again(nbflow, sales, app):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    result = nbflow("dags", "clear", "sales", "--run-id", "2024-01-05", "-y")
    assert result.out == "4 task instances of DAG sales were cleared.\n"
    assert app.store.run(RunKey("sales", "manual__2024-01-05T00:00:00+00:00")).state == "queued"


# ---------------------------------------------------------------------------------------------------------------- tasks


def test_tasks_list_as_a_tree(nbflow, sales):
    assert nbflow("tasks", "list", "sales", "--tree", "-S", sales).out == (
        "<Task(DecoratedPythonOperator): extract>\n"
        "    <Task(DecoratedPythonOperator): double>\n"
        "        <Task(DecoratedPythonOperator): load>\n"
    )


def test_a_tree_lists_the_downstream_tasks_of_a_joining_task_once(nbflow, dag_file):
    path = dag_file(
        "diamond.py",
        """
        from nbflow import DAG
        from nbflow.operators.empty import EmptyOperator as Empty

        with DAG("diamond", schedule=None):
            join = Empty(task_id="join")
            Empty(task_id="a") >> join >> Empty(task_id="z")
            Empty(task_id="b") >> join
        """,
    )
    assert nbflow("tasks", "list", "diamond", "-t", "-S", path).out == (
        "<Task(EmptyOperator): a>\n"
        "    <Task(EmptyOperator): join>\n"
        "        <Task(EmptyOperator): z>\n"
        "<Task(EmptyOperator): b>\n"
        "    <Task(EmptyOperator): join> ...\n"
    )


def test_tasks_test_records_nothing(nbflow, sales, app):
    result = nbflow("tasks", "test", "sales", "extract", "2024-01-05", "-S", sales, "-o", "json")
    assert result.json == {
        "dag_id": "sales",
        "task_id": "extract",
        "map_index": -1,
        "run_id": "manual__2024-01-05T00:00:00+00:00",
        "logical_date": "2024-01-05T00:00:00.000000+00:00",
        "state": "success",
        "xcoms": {"return_value": [1, 2]},
    }
    assert "extracting 2024-01-05" in result.err
    assert app.store.runs() == []


def test_tasks_test_reads_the_xcoms_of_the_run(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    result = nbflow("tasks", "test", "sales", "double", "2024-01-05", "--map-index", "1", "-S", sales, "-o", "json")
    assert result.json["xcoms"] == {"return_value": 4}


def test_tasks_test_of_a_task_that_fails(nbflow, dag_file):
    result = nbflow("tasks", "test", "failing", "wrong", "-S", dag_file("failing.py", FAILING), "-o", "json")
    assert (result.json["state"], result.code) == ("failed", 1)
    assert "ValueError: no such customer" in result.err


def test_tasks_render(nbflow, dag_file):
    path = dag_file(
        "bash.py",
        """
        from nbflow import DAG
        from nbflow.operators.bash import BashOperator

        with DAG("bash", schedule=None, params={"who": "world"}):
            BashOperator(task_id="hi", bash_command="echo {{ ds }} {{ params.who }}", env={"A": "{{ run_id }}"})
        """,
    )
    result = nbflow("tasks", "render", "bash", "hi", "2024-01-05", "-S", path, "-o", "json")
    assert result.json["bash_command"] == "echo 2024-01-05 world"
    assert result.json["env"] == {"A": "manual__2024-01-05T00:00:00+00:00"}


SECRETIVE = """
from nbflow import DAG, Variable, task
from nbflow.operators.bash import BashOperator

TOKEN = Variable.get("at_load_token")

with DAG("secretive", schedule=None, render_template_as_native_obj=NATIVE):
    BashOperator(task_id="hi", bash_command=[
        "{{ conn.db.password }}", "-{{ var.value.api_key }}-", "{{ var.json.login.password }}",
        "{{ var.value.pin_secret }}", "{{ conn.db.get_uri() }}", "{{ conn.db.password | length }}", TOKEN,
    ])
    @task
    def prints():
        print(TOKEN)
        raise ValueError(TOKEN)
    prints()
"""


@pytest.fixture
def secrets(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_DB", "postgres://ada:pw@db.example/x")
    monkeypatch.setenv("AIRFLOW_VAR_API_KEY", "k1")
    monkeypatch.setenv("AIRFLOW_VAR_LOGIN", '{"password": "login-password"}')
    monkeypatch.setenv("AIRFLOW_VAR_PIN_SECRET", "7312")
    monkeypatch.setenv("AIRFLOW_VAR_AT_LOAD_TOKEN", "read-at-load")


@pytest.mark.parametrize("native", [False, True])
def test_tasks_render_shows_no_secret_not_even_a_short_one(nbflow, dag_file, secrets, native):
    path = dag_file("secretive.py", SECRETIVE.replace("NATIVE", str(native)))
    result = nbflow("tasks", "render", "secretive", "hi", "2024-01-05", "-S", path, "-o", "json")
    length = 2 if native else "2"
    uri = "postgres://ada:***@db.example/x"
    assert result.json["bash_command"] == ["***", "-***-", "***", "***", uri, length, "***"]


def test_tasks_test_prints_no_secret(nbflow, dag_file, secrets):
    path = dag_file("secretive.py", SECRETIVE.replace("NATIVE", "False"))
    result = nbflow("tasks", "test", "secretive", "prints", "-S", path)
    assert "ValueError: ***" in result.err
    assert "read-at-load" not in result.err + result.out


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ nosuch }}", "UndefinedError: 'nosuch' is undefined"),
        ("{{ ds", "TemplateSyntaxError: unexpected end of template, expected 'end of print statement'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ ds.__class__ }}", "SecurityError: access to attribute '__class__' of 'str' object is unsafe"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_one_line(nbflow, dag_file, template, error):
    source = """
        from nbflow import DAG
        from nbflow.operators.bash import BashOperator

        with DAG("bash", schedule=None):
            BashOperator(task_id="hi", bash_command="echo TEMPLATE")
        """
    path = dag_file("bash.py", source.replace("TEMPLATE", template))
    result = nbflow("tasks", "render", "bash", "hi", "2024-01-05", "-S", path)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"nbflow: Rendering bash_command of task 'hi': 'echo {template}' failed: {error}.\n"


def test_prints_of_subprocesses_go_to_stderr(dag_file, home):
    import json
    import subprocess
    import sys

    path = dag_file(
        "bash.py",
        """
        from nbflow import DAG, task

        with DAG("bash", schedule=None):
            @task
            def hi():
                import os
                os.system("echo from a subprocess")
            hi()
        """,
    )
    result = subprocess.run(
        [sys.executable, "-m", "nbflow", "dags", "test", "bash", "-S", path, "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout)["state"] == "success"
    assert "from a subprocess" in result.stderr


def test_state_of_a_task(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("tasks", "state", "sales", "extract", "2024-01-05").out == "success\n"
    assert nbflow("tasks", "state", "sales", "double", "2024-01-05", "--map-index", "1").out == "success\n"
    without_index = nbflow("tasks", "state", "sales", "double", "2024-01-05")
    assert without_index.err.endswith("double is mapped: pass --map-index 0 to 1.\n")
    unmapped = nbflow("tasks", "state", "sales", "extract", "2024-01-05", "--map-index", "0")
    assert unmapped.err.endswith(" no task instance extract[0]. extract is not mapped in this run: omit --map-index.\n")


@pytest.mark.parametrize("command", ["test", "render"])
def test_a_mapped_task_needs_a_map_index(nbflow, sales, command):
    result = nbflow("tasks", command, "sales", "double", "2024-01-05", "-S", sales)
    assert result.err == "nbflow: Task double is mapped: give a map index. The first instance has map index 0.\n"
    assert (result.code, result.out) == (1, "")


def test_failed_deps_are_the_reasons_of_why(nbflow, sales):
    nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05")
    result = nbflow("tasks", "failed-deps", "sales", "load", "2024-01-05")
    assert result.out.startswith("Task instance dependencies not met:\nload: no_scheduler: No scheduler is running.")
    rows = nbflow("why", "sales", "load", "2024-01-05", "-o", "json").json
    assert [(row["task_id"], row["state"], row["kind"]) for row in rows] == [("load", None, "no_scheduler")]


def test_why_of_an_ended_run_prints_its_errors(nbflow, dag_file):
    nbflow("dags", "test", "failing", "2024-01-05", "-S", dag_file("failing.py", FAILING))
    assert nbflow("why", "failing").out == (
        "failing manual__2024-01-05T00:00:00+00:00: failed\n"
        "Leaf tasks of the run failed: `after`.\n"
        "wrong (try 1): ValueError: no such customer\n"
        "after (upstream_failed): `wrong` failed (ValueError: no such customer); `all_success` needs it: "
        "all upstream tasks must succeed.\n"
        "Next step: nbflow tasks clear failing --run manual__2024-01-05T00:00:00+00:00 --only-failed\n"
    )


def test_tasks_clear_in_a_range(nbflow, sales, app):
    for day in ("2024-01-05", "2024-01-06"):
        nbflow("dags", "test", "sales", day, "-S", sales)
    result = nbflow("tasks", "clear", "sales", "-s", "2024-01-06", "-t", "double", "-d", "-y")
    assert result.out == "3 task instances were cleared.\n"
    states = [app.store.run(RunKey("sales", f"manual__2024-01-0{day}T00:00:00+00:00")).state for day in (5, 6)]
    assert states == ["success", "queued"]


def test_simulate_prints_runs_and_assumptions(nbflow, sales):
    result = nbflow(
        "simulate", "sales", "-S", sales, "-s", "2024-01-01", "--days", "3", "extract=fail_hard", "-o", "json"
    )
    assert [(run["logical_date"][:10], run["state"]) for run in result.json] == [
        ("2024-01-01", "failed"),
        ("2024-01-02", "failed"),
        ("2024-01-03", "failed"),
    ]
    assert "assumed: " in result.err
    text = nbflow("simulate", "sales", "-S", sales, "-s", "2024-01-01", "--days", "3").out
    assert text.startswith("sales, simulated from 2024-01-01 00:00 to 2024-01-04 00:00: 3 runs (3 success)\n")


def test_an_invalid_outcome_of_simulate_is_a_usage_error(nbflow, sales):
    result = nbflow("simulate", "sales", "extract=explode", "-S", sales)
    assert result.code == 2
    assert result.err.startswith("nbflow simulate: extract=explode is invalid; an outcome is one of success, fail,")


# ---------------------------------------------------------------------------------------------- variables, pools, files


def test_exported_variables_are_imported_unchanged(nbflow, tmp_path):
    # Given a variable with a description, JSON, JSON in the format of an export with a description, and a number
    nbflow("variables", "set", "region", "eu", "--description", "where")
    nbflow("variables", "set", "limits", '{"a": [1, 2]}', "--json")
    nbflow("variables", "set", "odd", '{"value": 1, "description": "x"}', "--json")
    nbflow("variables", "set", "number", "007")
    before = nbflow("variables", "list", "--show-values", "-o", "json").json
    # When they are exported, deleted and imported
    path = tmp_path / "variables.json"
    nbflow("variables", "export", str(path))
    for row in before:
        assert nbflow("variables", "delete", row["key"]).code == 0
    assert nbflow("variables", "list", "-o", "json").json == []
    nbflow("variables", "import", str(path))
    # Then they are unchanged, and only the user can read the file
    assert nbflow("variables", "list", "--show-values", "-o", "json").json == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_values_of_variables_are_shown_only_on_request(nbflow):
    nbflow("variables", "set", "api_key", "hush")
    assert "hush" not in nbflow("variables", "list").out
    assert "hush" not in nbflow("variables", "list", "--show-values", "--hide-sensitive").out
    assert nbflow("variables", "get", "api_key").out == "hush\n"


def test_variables_get_with_a_default_and_as_json(nbflow):
    assert nbflow("variables", "get", "nothing", "-d", "x").out == "x\n"
    nbflow("variables", "set", "limits", '{"a": 1}')
    assert nbflow("variables", "get", "limits", "--json").json == {"a": 1}


@pytest.mark.parametrize(("action", "code", "value"), [("overwrite", 0, "new"), ("skip", 0, "old"), ("fail", 1, "old")])
def test_importing_existing_variables(nbflow, tmp_path, action, code, value):
    nbflow("variables", "set", "a", "old")
    path = tmp_path / "v.json"
    path.write_text('{"a": "new"}')
    assert nbflow("variables", "import", str(path), "-a", action).code == code
    assert nbflow("variables", "get", "a").out == f"{value}\n"


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.env"])
def test_exported_connections_are_imported_unchanged(nbflow, tmp_path, name):
    # Given a connection with all fields
    nbflow("connections", "add", "db", "--conn-uri", "postgres://ada:hu%2Fsh@db.example:5433/shop?sslmode=require")
    before = nbflow("connections", "get", "db", "-o", "json", "--show-values").json
    # When it is exported, deleted and imported
    path = tmp_path / name
    nbflow("connections", "export", str(path))
    nbflow("connections", "delete", "db")
    assert nbflow("connections", "get", "db").code == 1
    nbflow("connections", "import", str(path))
    # Then it is unchanged, and only the user can read the file
    assert nbflow("connections", "get", "db", "-o", "json", "--show-values").json == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_of_a_connection_are_hidden(nbflow):
    nbflow(
        "connections", "add", "db", "--conn-type", "http", "--conn-password", "hush", "--conn-extra", '{"token": "t1"}'
    )
    for output_format in ("table", "json", "yaml", "plain"):
        for line in (("list",), ("get", "db")):
            out = nbflow("connections", *line, "-o", output_format).out
            assert "hush" not in out
            assert "t1" not in out


def test_the_password_of_a_connection_is_read_from_standard_input(nbflow, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("hush\n"))
    nbflow("connections", "add", "db", "--conn-type", "http", "--conn-password", "-")
    assert nbflow("connections", "get", "db", "-o", "json", "--show-values").json[0]["password"] == "hush"


def test_pools_are_exported_to_stdout(nbflow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = nbflow("pools", "export", "-")
    assert ([*result.json], result.err, [*tmp_path.glob("-")]) == (["default_pool"], "", [])


def test_a_connection_uri_without_a_type_is_an_error(nbflow):
    result = nbflow("connections", "add", "db", "--conn-uri", "db.example:5432/shop")
    assert result.err == "nbflow: Invalid connection 'db': a URI begins with the connection type, e.g. postgres://\n"
    assert (result.code, nbflow("connections", "get", "db").code) == (1, 1)


def test_a_connection_is_added_by_uri_json_or_fields(nbflow):
    result = nbflow("connections", "add", "db", "--conn-uri", "http://a", "--conn-host", "b")
    assert result.code == 2
    assert result.err == "nbflow: Pass exactly one of --conn-uri, --conn-json, or --conn-type with --conn-host etc.\n"


def test_testing_connections_is_disabled_by_default(nbflow):
    nbflow("connections", "add", "db", "--conn-uri", "http://127.0.0.1:1")
    result = nbflow("connections", "test", "db")
    assert result.code == 1
    assert "Testing connections is disabled" in result.err


@pytest.fixture
def connection_test(nbflow, monkeypatch):
    """``connection_test(uri)``: add the connection "db" and test it; returns the exit code and stdout."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "enabled")

    def run(uri):
        nbflow("connections", "add", "db", "--conn-uri", uri)
        result = nbflow("connections", "test", "db")
        assert result.err == ""
        return result.code, result.out

    return run


def test_a_sqlite_connection_is_tested_by_its_hook(connection_test, tmp_path):
    path = tmp_path / "shop.db"
    path.write_bytes(b"")
    assert connection_test(f"sqlite:///{path}") == (0, "db: works: Connection successfully tested\n")


def test_testing_a_sqlite_connection_creates_no_file(connection_test, tmp_path):
    path = tmp_path / "shop.db"
    code, out = connection_test(f"sqlite:///{path}")
    assert (code, path.exists()) == (1, False)
    assert out.startswith(f"db: does not work: File {path} does not exist;")


def test_a_sqlite_connection_to_another_file_does_not_work(connection_test, dag_file):
    code, out = connection_test(
        f"sqlite:///{dag_file('notes.txt', 'a text that is longer than a header of SQLite ' * 9)}"
    )
    assert (code, out) == (1, "db: does not work: DatabaseError: file is not a database\n")


def test_an_fs_connection_is_tested_by_its_hook(connection_test, tmp_path):
    assert connection_test(f"fs://?path={tmp_path}") == (0, f"db: works: Path {tmp_path} exists\n")


@pytest.mark.postgres
def test_a_postgres_connection_is_tested_by_its_hook(connection_test, new_postgres_url):
    uri = new_postgres_url().replace("postgresql+psycopg", "postgres")
    assert connection_test(uri) == (0, "db: works: Connection successfully tested\n")


@pytest.mark.postgres
def test_the_error_of_a_failed_login_contains_no_password(connection_test, session_postgres_url):
    server = session_postgres_url.replace("postgresql+psycopg", "postgres").rpartition("/")[0]
    code, out = connection_test(f"{server.replace('postgres@', 'postgres:hush-hush@')}/no_such_database")
    assert (code, out.count("\n"), "hush-hush" in out) == (1, 1, False)
    assert out.startswith("db: does not work: OperationalError: ")
    assert 'database "no_such_database" does not exist' in out


def test_without_a_hook_only_the_port_is_tested(connection_test):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, out = connection_test(f"http://127.0.0.1:{port}")
    assert (code, out) == (
        1,
        f"db: is not tested: 127.0.0.1 accepts connections on port {port}, but the type 'http' has no hook to test the "
        "login\n",
    )


def test_a_connection_to_a_closed_port_does_not_work(connection_test):
    code, out = connection_test("http://127.0.0.1:1")
    assert (code, out.startswith("db: does not work: 127.0.0.1 does not accept connections on port 1: ")) == (1, True)


def test_exported_pools_are_imported_unchanged(nbflow, tmp_path):
    nbflow("pools", "set", "api", "3", "calls", "--include-deferred")
    before = nbflow("pools", "list", "-o", "json").json
    path = tmp_path / "pools.json"
    nbflow("pools", "export", str(path))
    assert nbflow("pools", "delete", "api").code == 0
    nbflow("pools", "import", str(path))
    assert nbflow("pools", "list", "-o", "json").json == before
    assert nbflow("pools", "get", "api", "-o", "json").json == [
        {"pool": "api", "slots": 3, "description": "calls", "include_deferred": True}
    ]


# ------------------------------------------------------------------------------------------------------------------- db


def test_db_init_creates_a_home(nbflow, home):
    assert nbflow("db", "init").code == 0
    assert {"dags", "logs", "nbflow.db", "nbflow.toml"} <= {path.name for path in home.iterdir()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_db_check_of_a_metastore_without_tables(nbflow):
    result = nbflow("db", "check")
    assert result.code == 1
    assert "nbflow db migrate" in result.err
    assert nbflow("db", "migrate").code == nbflow("db", "upgrade").code == nbflow("db", "check").code == 0


def test_db_downgrade_and_reset(nbflow):
    nbflow("variables", "set", "a", "1")
    assert nbflow("db", "reset").code == 2
    assert nbflow("db", "reset", "-y").code == 0
    assert nbflow("variables", "get", "a").code == 1
    assert nbflow("db", "downgrade", "-r", "base", "-y").code == 0
    assert nbflow("db", "check").code == 1


def test_db_clean_deletes_old_rows(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("db", "clean", "--clean-before-timestamp", "2020-01-01", "-y", "-o", "json").json == []
    preview = nbflow("db", "clean", "--clean-before-timestamp", "tomorrow", "--dry-run", "-o", "json").json
    deleted = nbflow("db", "clean", "--clean-before-timestamp", "tomorrow", "-y", "-o", "json").json
    assert deleted == preview
    assert {"table": "dag_run", "rows": 1} in deleted
    assert nbflow("dags", "list-runs", "sales", "-o", "json").json == []


OLD = ("--clean-before-timestamp", "tomorrow")


def test_db_clean_creates_archives_that_can_be_exported_and_dropped(nbflow, sales, tmp_path):
    # Given an ended run, with a text that CSV must quote
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales, "-c", '{"a": "x,\\n\\"y\\""}')

    # When it is deleted, and the archives are exported
    assert nbflow("db", "clean", *OLD, "-t", "dag_run", "-y").code == 0
    written = nbflow("db", "export-archived", "--output-path", str(tmp_path), "-t", "dag_run,xcom", "-o", "json").json

    # Then the files contain the deleted rows, and only the user can read them
    assert [(row["archive"].split("__")[1], row["rows"]) for row in written] == [("dag_run", 1), ("xcom", 3)]
    with open(written[0]["file"], encoding="utf-8", newline="") as file:
        (run,) = csv.DictReader(file)
    assert (run["dag_id"], run["state"], json.loads(run["conf"])) == ("sales", "success", {"a": 'x,\n"y"'})
    assert (run["logical_date"], run["backfill_id"]) == ("2024-01-05T00:00:00.000000+00:00", "")
    assert Path(written[0]["file"]).stat().st_mode & 0o777 == 0o600

    # And archives can be dropped: those of a table, and those that are exported
    assert nbflow("db", "drop-archived", "-t", "xcom").code == 2  # stdin is not a terminal
    assert nbflow("db", "drop-archived", "-t", "xcom", "-y").code == 0
    missing = nbflow("db", "export-archived", "--output-path", str(tmp_path), "-t", "xcom")
    assert "Table 'xcom' has no archive" in missing.err
    assert nbflow("db", "export-archived", "--output-path", str(tmp_path), "--drop-archives", "-y").code == 0
    nothing = nbflow("db", "export-archived", "--output-path", str(tmp_path))
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "No archives.\n")


def test_db_clean_without_archives(nbflow, sales, app):
    nbflow("dags", "test", "sales", "-S", sales)
    assert nbflow("db", "clean", *OLD, "--skip-archive", "-y").code == 0
    assert app.store.archives() == {}


def test_db_reset_deletes_archives_too(nbflow, sales, app):
    nbflow("dags", "test", "sales", "-S", sales)
    nbflow("db", "clean", *OLD, "-y")
    assert app.store.archives() != {}
    assert nbflow("db", "reset", "-y").code == 0
    assert app.store.archives() == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "task_instance"], "--tables dag_run"),
        (["-t", "dag_runs"], "Did you mean 'dag_run'"),
        (["--dag-ids", "salse"], "no DAG 'salse'"),
    ],
)
def test_the_error_of_db_clean_names_the_invalid_argument(nbflow, sales, words, message):
    nbflow("dags", "test", "sales", "-S", sales)
    result = nbflow("db", "clean", *OLD, *words, "-y")
    assert (result.code > 0, result.out, message in result.err, result.err.count("\n")) == (True, "", True, 1)


def test_db_clean_of_selected_dags_keeps_the_audit_log(nbflow, sales):
    nbflow("dags", "test", "sales", "-S", sales)
    nbflow("variables", "set", "a", "1")
    of_dag = nbflow("db", "clean", *OLD, "--dag-ids", "sales", "--dry-run", "-o", "json").json
    of_all = nbflow("db", "clean", *OLD, "-t", "log", "--dry-run", "-o", "json").json
    assert "audit" not in {row["table"] for row in of_dag}
    assert [row["table"] for row in of_all] == ["audit"]


# ------------------------------------------------------------------------------------------------------------- teaching


def test_a_quiz_is_answered_in_the_terminal(nbflow):
    from nbflow.teach.quiz import load_quiz

    quiz = load_quiz("dag_concepts")
    question = next(question for question in quiz.questions if question.type == "order")
    number, wrong = str(question.number), question.answer[::-1]
    # Given a quiz
    assert question.ask in nbflow("quiz", quiz.name).out
    # When a question is answered wrong, and then right
    first, then = nbflow("quiz", quiz.name, number, *wrong), nbflow("quiz", quiz.name, number, *question.answer)
    # Then the result and the progress are printed
    assert (first.code, first.out.splitlines()[0]) == (1, f"Question {number}: wrong.")
    assert (then.code, then.out.splitlines()[0]) == (0, f"Question {number}: right.")
    assert nbflow("quiz", "-o", "json").json == [
        {"quiz": quiz.name, "title": quiz.title, "questions": len(quiz.questions), "right": 1}
    ]


def test_a_lab_is_checked_in_the_terminal(nbflow, in_folder):
    # When the first exercise is checked before and after it is solved
    first = nbflow("labs", "01_hello_dag", "1")
    in_folder(
        "hello.py",
        """
        from nbflow import DAG, task

        with DAG("hello") as dag:
            @task
            def greet():
                return "hello"

            @task
            def shout(text):
                return text.upper()

            shout(greet())
        """,
    )
    nbflow("dags", "test", "hello")
    then = nbflow("labs", "01_hello_dag", "1")
    # Then the results are printed
    assert (first.code, first.out.splitlines()[0]) == (1, "Exercise 1: Two tasks in order: not yet")
    assert (then.code, then.out.splitlines()[0]) == (0, "Exercise 1: Two tasks in order: passed")
    assert nbflow("labs", "-o", "json").json[0]["passed"] == 1


def test_rotate_fernet_key(nbflow, monkeypatch):
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", old)
    nbflow("variables", "set", "a", "1")
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", f"{new},{old}")
    assert nbflow("rotate-fernet-key").out == "1 secrets were re-encrypted with the newest Fernet key.\n"
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", new)
    assert nbflow("variables", "get", "a").out == "1\n"


# ------------------------------------------------------------------------------------------------------------- backfill


def test_a_dry_run_of_a_backfill_lists_the_runs_that_it_creates(nbflow, in_folder):
    in_folder("sales.py", SALES)
    range_ = ("--dag-id", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-03")
    planned = nbflow("backfill", "create", *range_, "--dry-run", "-o", "json").json
    created = nbflow("backfill", "create", *range_, "-o", "json")
    assert created.json == {"backfill_id": 1, "dag_id": "sales", "runs": 3, "left_alone": 0}
    assert created.err.endswith("No scheduler is running. Start one with: nbflow scheduler\n")
    runs = nbflow("dags", "list-runs", "sales", "-o", "json").json
    assert sorted(row["run_id"] for row in runs) == [row["run_id"] for row in planned]
    assert [row["action"] for row in planned] == ["create"] * 3
    assert {row["run_type"] for row in runs} == {"backfill"}
    assert nbflow("dags", "list-runs", "sales", "--no-backfill", "-o", "json").json == []


def test_pause_and_cancel_a_backfill(nbflow, in_folder):
    in_folder("sales.py", SALES)
    nbflow("backfill", "create", "--dag-id", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-03")

    def state() -> str:
        return nbflow("backfill", "list", "-o", "json").json[0]["state"]

    assert state() == "running"
    nbflow("backfill", "pause", "1")
    assert state() == "paused"
    nbflow("backfill", "unpause", "1")
    assert state() == "running"
    assert nbflow("backfill", "cancel", "1").code == 0
    assert state() == "cancelled"
    assert nbflow("backfill", "pause", "1").err == "nbflow: Backfill 1 is already cancelled.\n"


def test_dags_backfill_executes_the_runs_in_this_process_without_a_scheduler(nbflow, sales, app, monkeypatch):
    # Given no scheduler, and a file outside the DAGs folder
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    # When days are backfilled by the command of Airflow 2
    result = nbflow("dags", "backfill", "sales", "-s", "2024-02-01", "-e", "2024-02-03", "-S", sales, "-o", "json")
    # Then the runs have ended when the command ends
    assert result.json == {
        "backfill_id": 1,
        "dag_id": "sales",
        "runs": 3,
        "left_alone": 0,
        "success": 3,
        "failed": 0,
    }
    assert result.code == 0
    assert [run.logical_date for run in app.store.runs("sales", states=[RunState.SUCCESS], newest_first=False)] == [
        datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3)
    ]
    # And existing runs are kept, unless they are reset
    second = nbflow(
        "dags", "backfill", "sales", "-s", "2024-02-03", "-e", "2024-02-04", "-S", sales, "-n", "-o", "json"
    )
    assert [row["action"] for row in second.json] == ["leave alone: already exists", "create"]
    reset = nbflow("dags", "backfill", "sales", "-s", "2024-02-03", "-S", sales, "--reset-dagruns", "-n", "-o", "json")
    assert [row["action"] for row in reset.json] == ["run again"]


def test_the_exit_code_of_dags_backfill_is_1_if_a_run_fails(nbflow, dag_file, monkeypatch):
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    path = dag_file("failing.py", FAILING.replace("schedule=None", 'schedule="@daily"'))
    result = nbflow("dags", "backfill", "failing", "-s", "2024-02-01", "-S", path, "-o", "json")
    assert (result.json["failed"], result.code) == (1, 1)
    assert "See: nbflow tasks states-for-dag-run failing " in result.err


# ------------------------------------------------------------------------------------------- notebooks, other databases


def test_a_notebook_is_a_dag_file(nbflow, tmp_path):
    # Given a notebook whose cell defines a DAG, and one whose cell has an error
    import nbformat

    def notebook(name: str, *cells: str) -> str:
        path = tmp_path / name
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
        return str(path)

    good = notebook(
        "good.ipynb",
        "%load_ext nbflow",
        "%%dag hello --schedule @daily --start 2024-01-01\nfrom nbflow import task\n\n@task\ndef one(): ...\n\none()",
    )
    bad = notebook("bad.ipynb", "%load_ext nbflow", "%%dag bad --schedule @dayly\nfrom nbflow import task")
    # Then they are listed, tested and checked like other files
    assert [row["dag_id"] for row in nbflow("dags", "list", "-S", good, "-o", "json").json] == ["hello"]
    assert nbflow("dags", "test", "hello", "-S", good, "-o", "json").json["state"] == "success"
    (error,) = nbflow("dags", "check", bad, "-o", "json").json
    assert error["error"].startswith("cell 2: AirflowTimetableInvalid: ")
    assert nbflow("dags", "check", bad).out.startswith(f"{bad} cell 2:1: AirflowTimetableInvalid: ")


@pytest.mark.postgres
def test_a_postgres_metastore_is_migrated_only_by_db_migrate(nbflow, new_postgres_url, monkeypatch, sales):
    monkeypatch.setenv("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", new_postgres_url())
    # Given a new database
    listed = nbflow("dags", "list")
    assert listed.code == 1
    assert "nbflow db migrate" in listed.err
    # When it is migrated
    assert nbflow("db", "migrate").code == 0
    # Then commands work on it
    assert nbflow("dags", "test", "sales", "2024-01-05", "-S", sales, "-o", "json").json["state"] == "success"
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("status").code == 1


# ----------------------------------------------------------------------------------------------------------------- logs


def test_logs_prints_the_log_of_the_failed_task(nbflow, in_folder, app):
    # Given a run whose task has failed
    from nbflow.cli.inline_runs import execute_runs
    from nbflow.cli.progress import Progress

    in_folder("failing.py", FAILING)
    nbflow("dags", "unpause", "failing")
    nbflow("dags", "trigger", "failing", "-l", "2024-01-05")
    key = RunKey("failing", "manual__2024-01-05T00:00:00+00:00")
    execute_runs(app, [key], Progress(1, "runs"))
    # When its log is printed
    result = nbflow("logs", "failing")
    # Then the log is on stdout, and its heading on stderr
    assert (result.code, result.err) == (0, f"wrong of {key.run_id}, try 1\n")
    assert re.search(r"^2.* ERROR nbflow\.task \| Task failed: ValueError: no such customer$", result.out, re.M)
    # And a search prints the lines that contain the text, or the number of lines that were searched
    lines = nbflow("logs", "failing", "wrong", "last", "--search", "CUSTOMER").out.splitlines()
    assert lines == [line for line in result.out.splitlines() if "customer" in line]
    nothing = nbflow("logs", "failing", "--search", "nowhere")
    searched = len(result.out.splitlines())
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.err == f"wrong of {key.run_id}, try 1: No line contains 'nowhere'; {searched} lines were searched.\n"


def test_logs_of_a_run_without_started_tasks_is_an_error(nbflow, sales):
    nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05")
    result = nbflow("logs", "sales")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith(" has started yet. See: nbflow why sales.\n")
    assert nbflow("logs", "sales", "laod", "last").err == (
        "nbflow: DAG 'sales' has no task 'laod'. Did you mean 'load'?\n"
    )
