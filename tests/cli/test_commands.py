"""What the commands do, one test a command or two."""

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

    names = [f"nbflow {one.name}" for group in GROUPS for one in commands_of(group)]
    assert [row["command"] for row in nbflow("cheat-sheet", "-o", "json").json] == names


def test_config_says_where_a_value_comes_from(nbflow, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "7")
    rows = nbflow("config", "list", "--only-set", "-o", "json").json
    assert rows == [{"section": "core", "option": "parallelism", "value": "7", "source": "AIRFLOW__CORE__PARALLELISM"}]
    assert nbflow("config", "get-value", "core", "parallelism").out == "7\n"


def test_config_hides_what_is_secret(nbflow):
    assert nbflow("config", "get-value", "database", "sql_alchemy_conn").out == "< hidden >\n"
    shown = nbflow("config", "get-value", "database", "sql_alchemy_conn", "--show-values").out
    assert shown.startswith("sqlite:////")


# ----------------------------------------------------------------------------------------------------------------- dags


def test_dags_list_without_a_scheduler_says_that_files_are_unread(nbflow, in_folder, home):
    # Given a file that no scheduler has read
    in_folder("sales.py", SALES)
    # Then the list is the metastore's, and the way out is named
    done = nbflow("dags", "list", "-o", "json")
    assert done.json == []
    assert done.err == (
        f"1 new file in {home}/dags has not been parsed yet: no scheduler is running. "
        "Start one with: nbflow scheduler. Or add --local.\n"
    )


def test_dags_list_local_reads_the_files(nbflow, in_folder):
    path = in_folder("sales.py", SALES)
    broken = in_folder("broken.py", BROKEN)
    done = nbflow("dags", "list", "--local", "-o", "json", "--columns", "dag_id,schedule,is_paused,tags,fileloc")
    assert done.json == [{"dag_id": "sales", "schedule": "@daily", "is_paused": None, "tags": "shop", "fileloc": path}]
    assert done.err.startswith(f"{broken}:4: AirflowTimetableInvalid: ")


def test_a_dag_that_only_the_folder_has_is_read_from_there_and_said(nbflow, in_folder):
    path = in_folder("sales.py", SALES)
    done = nbflow("tasks", "list", "sales")
    assert done.out == "double\nextract\nload\n"
    assert done.err == f"DAG sales is not in the metastore yet; it was loaded from {path}.\n"


def test_triggering_a_dag_that_only_the_folder_has_stores_it(nbflow, in_folder):
    # Given a file that no scheduler has read
    path = in_folder("sales.py", SALES)
    # When its DAG is triggered
    made = nbflow("dags", "trigger", "sales", "-o", "json")
    # Then it is known, and paused as every new DAG is
    assert made.json["state"] == "queued"
    assert f"DAG sales was not in the metastore yet; it was loaded from {path}." in made.err
    assert "DAG 'sales' is paused." in made.err
    assert [row["dag_id"] for row in nbflow("dags", "list", "-o", "json").json] == ["sales"]


def test_a_dag_whose_file_is_gone_is_told(nbflow, in_folder, app):
    # Given a DAG that its file lost
    path = in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    app.store.set_stale(["sales"], True, now=app.clock.now())
    # When it is triggered and unpaused all the same
    made, unpaused = nbflow("dags", "trigger", "sales", "-o", "json"), nbflow("dags", "unpause", "sales")
    # Then both say so
    assert (made.code, made.json["state"]) == (0, "queued")
    assert f"{path} does not define DAG sales anymore: the run uses its last version.\n" in made.err
    assert "No file defines DAG sales anymore: it gets no scheduled runs.\n" in unpaused.err


def test_modules_beside_the_dags_are_not_counted_as_unread(nbflow, in_folder):
    in_folder("helpers.py", "NAME = 1\n")
    assert nbflow("dags", "list").err == ""
    in_folder("sales.py", SALES)
    for listing in ("list", "list-import-errors"):
        assert nbflow("dags", listing).err.startswith("1 new file in ")


def test_a_dag_that_was_only_tried_so_far_can_be_unpaused(nbflow, in_folder, app):
    # Given a DAG of the folder that the metastore knows from dags test alone
    in_folder("sales.py", SALES)
    nbflow("dags", "test", "sales")
    # When it is unpaused
    done = nbflow("dags", "unpause", "sales", "-o", "json")
    # Then the schedule follows it
    assert (done.code, done.json) == (0, [{"dag_id": "sales", "is_paused": False}])
    assert [(row.dag_id, row.paused) for row in app.store.dags()] == [("sales", False)]


def test_a_dag_of_another_folder_has_no_schedule_to_pause(nbflow, sales):
    nbflow("dags", "test", "sales", "-S", sales)
    done = nbflow("dags", "pause", "sales")
    assert (done.code, done.out) == (1, "")
    assert "it was registered only for single runs. Save its file in the DAGs folder." in done.err


def test_pause_and_unpause(nbflow, in_folder, app):
    in_folder("sales.py", SALES)
    assert nbflow("dags", "unpause", "sales", "-o", "json").json == [{"dag_id": "sales", "is_paused": False}]
    assert app.store.dag("sales").paused is False
    assert nbflow("dags", "pause", "s.*", "--treat-dag-id-as-regex", "-o", "json").json == [
        {"dag_id": "sales", "is_paused": True}
    ]


def test_delete_asks_unless_told(nbflow, in_folder, app):
    in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    refused = nbflow("dags", "delete", "sales")
    assert refused.code == 2
    assert refused.err.endswith("Standard input is not a terminal. Confirm with -y.\n")
    assert app.store.dag("sales") is not None
    assert nbflow("dags", "delete", "sales", "--yes").code == 0
    assert app.store.dag("sales") is None


def test_dags_check_names_every_fault_with_its_line(nbflow, dag_file):
    good, bad = dag_file("sales.py", SALES), dag_file("broken.py", BROKEN)
    done = nbflow("dags", "check", good, bad)
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == f"{good}: sales: no errors"
    assert lines[1].startswith(f"{bad}:4: AirflowTimetableInvalid: The schedule of DAG 'broken' is invalid: ")
    assert nbflow("dags", "check", good).code == 0


def test_dags_check_of_a_file_without_a_dag(nbflow, dag_file):
    path = dag_file("nothing.py", "x = 1\n")
    done = nbflow("dags", "check", path, "-o", "json")
    assert done.json == [{"filepath": path, "line": None, "error": "the file defines no DAG"}]
    assert done.code == 1


def test_dags_check_of_a_file_that_cannot_be_read_as_python(nbflow, dag_file):
    path = dag_file("syntax.py", "from nbflow import DAG\ndef (:\n")
    rows = nbflow("dags", "check", path, "-o", "json").json
    assert [(row["line"], row["error"].split(":")[0]) for row in rows] == [(2, "SyntaxError")]


def test_lint_checks_the_folder(nbflow, in_folder):
    in_folder("sales.py", SALES)
    bad = in_folder("broken.py", BROKEN)
    done = nbflow("lint", "-o", "json")
    assert [(row["filepath"], row["line"]) for row in done.json] == [(bad, 4)]
    assert done.code == 1


def test_report_has_a_line_a_file(nbflow, in_folder):
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


def test_show_saves_pictures_by_graphviz(nbflow, sales, tmp_path, dot_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(dot_path).parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "a.png"
    assert nbflow("dags", "show", "sales", "-S", sales, "--save", str(path)).code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_show_without_graphviz_says_what_is_missing(nbflow, sales, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = nbflow("dags", "show", "sales", "-S", sales, "--save", str(tmp_path / "a.png"))
    assert done.err == (
        "nbflow: A .png file needs Graphviz, and its program dot is not on PATH. "
        "Install Graphviz (apt-get install graphviz), or save as .svg or .dot.\n"
    )
    assert done.code == 1


def test_next_execution_follows_the_last_run(nbflow, sales):
    # Given a DAG whose schedule is known
    done = nbflow("dags", "next-execution", "sales", "-S", sales, "-n", "2", "-o", "json")
    # Then the runs that come follow each other
    first, second = done.json
    assert first["data_interval_end"] == second["data_interval_start"] == second["logical_date"]
    assert nbflow("dags", "next-execution", "sales", "-S", sales).out.strip() == first["logical_date"]


def test_next_execution_of_a_dag_without_schedule(nbflow, dag_file):
    done = nbflow("dags", "next-execution", "failing", "-S", dag_file("failing.py", FAILING))
    assert (done.out, done.code) == ("None\n", 0)
    assert "No next run" in done.err


def test_state_of_a_run_by_id_and_by_date(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("dags", "state", "sales", "manual__2024-01-05T00:00:00+00:00").out == "success\n"


def test_dags_clear_lets_a_run_go_again(nbflow, sales, app):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    done = nbflow("dags", "clear", "sales", "--run-id", "2024-01-05", "-y")
    assert done.out == "4 task instances of DAG sales were cleared.\n"
    assert app.store.run(RunKey("sales", "manual__2024-01-05T00:00:00+00:00")).state == "queued"


# ---------------------------------------------------------------------------------------------------------------- tasks


def test_tasks_list_as_a_tree(nbflow, sales):
    assert nbflow("tasks", "list", "sales", "--tree", "-S", sales).out == (
        "<Task(DecoratedPythonOperator): extract>\n"
        "    <Task(DecoratedPythonOperator): double>\n"
        "        <Task(DecoratedPythonOperator): load>\n"
    )


def test_a_tree_shows_what_joins_once(nbflow, dag_file):
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
    done = nbflow("tasks", "test", "sales", "extract", "2024-01-05", "-S", sales, "-o", "json")
    assert done.json == {
        "dag_id": "sales",
        "task_id": "extract",
        "map_index": -1,
        "run_id": "manual__2024-01-05T00:00:00+00:00",
        "logical_date": "2024-01-05T00:00:00.000000+00:00",
        "state": "success",
        "xcoms": {"return_value": [1, 2]},
    }
    assert "extracting 2024-01-05" in done.err
    assert app.store.runs() == []


def test_tasks_test_sees_what_the_run_has_pushed(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    done = nbflow("tasks", "test", "sales", "double", "2024-01-05", "--map-index", "1", "-S", sales, "-o", "json")
    assert done.json["xcoms"] == {"return_value": 4}


def test_tasks_test_of_a_task_that_fails(nbflow, dag_file):
    done = nbflow("tasks", "test", "failing", "wrong", "-S", dag_file("failing.py", FAILING), "-o", "json")
    assert (done.json["state"], done.code) == ("failed", 1)
    assert "ValueError: no such customer" in done.err


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
    done = nbflow("tasks", "render", "bash", "hi", "2024-01-05", "-S", path, "-o", "json")
    assert done.json["bash_command"] == "echo 2024-01-05 world"
    assert done.json["env"] == {"A": "manual__2024-01-05T00:00:00+00:00"}


def test_what_subprocesses_print_is_no_result(dag_file, home):
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
    done = subprocess.run(
        [sys.executable, "-m", "nbflow", "dags", "test", "bash", "-S", path, "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["state"] == "success"
    assert "from a subprocess" in done.stderr


def test_state_of_a_task(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("tasks", "state", "sales", "extract", "2024-01-05").out == "success\n"
    assert nbflow("tasks", "state", "sales", "double", "2024-01-05", "--map-index", "1").out == "success\n"
    unsaid = nbflow("tasks", "state", "sales", "double", "2024-01-05")
    assert unsaid.err.endswith("double is mapped: pass --map-index 0 to 1.\n")
    unmapped = nbflow("tasks", "state", "sales", "extract", "2024-01-05", "--map-index", "0")
    assert unmapped.err.endswith(" no task instance extract[0]. extract is not mapped in this run: omit --map-index.\n")


@pytest.mark.parametrize("command", ["test", "render"])
def test_a_mapped_task_is_tried_by_its_index(nbflow, sales, command):
    done = nbflow("tasks", command, "sales", "double", "2024-01-05", "-S", sales)
    assert done.err == "nbflow: Task double is mapped: give a map index. The first instance has map index 0.\n"
    assert (done.code, done.out) == (1, "")


def test_failed_deps_are_the_reasons_of_why(nbflow, sales):
    nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05")
    done = nbflow("tasks", "failed-deps", "sales", "load", "2024-01-05")
    assert done.out.startswith("Task instance dependencies not met:\nload: no_scheduler: No scheduler is running.")
    rows = nbflow("why", "sales", "load", "2024-01-05", "-o", "json").json
    assert [(row["task_id"], row["state"], row["kind"]) for row in rows] == [("load", None, "no_scheduler")]


def test_why_of_a_run_that_has_ended_tells_what_failed(nbflow, dag_file):
    nbflow("dags", "test", "failing", "2024-01-05", "-S", dag_file("failing.py", FAILING))
    assert nbflow("why", "failing").out == (
        "failing manual__2024-01-05T00:00:00+00:00: failed\n"
        "The run has ended: no task waits.\n"
        "wrong (try 1): ValueError: no such customer\n"
    )


def test_tasks_clear_in_a_range(nbflow, sales, app):
    for day in ("2024-01-05", "2024-01-06"):
        nbflow("dags", "test", "sales", day, "-S", sales)
    done = nbflow("tasks", "clear", "sales", "-s", "2024-01-06", "-t", "double", "-d", "-y")
    assert done.out == "3 task instances were cleared.\n"
    states = [app.store.run(RunKey("sales", f"manual__2024-01-0{day}T00:00:00+00:00")).state for day in (5, 6)]
    assert states == ["success", "queued"]


def test_simulate_shows_days_and_says_what_it_assumes(nbflow, sales):
    done = nbflow(
        "simulate", "sales", "-S", sales, "-s", "2024-01-01", "--days", "3", "extract=fail_hard", "-o", "json"
    )
    assert [(run["logical_date"][:10], run["state"]) for run in done.json] == [
        ("2024-01-01", "failed"),
        ("2024-01-02", "failed"),
        ("2024-01-03", "failed"),
    ]
    assert "assumed: " in done.err
    text = nbflow("simulate", "sales", "-S", sales, "-s", "2024-01-01", "--days", "3").out
    assert text.startswith("sales, simulated from 2024-01-01 00:00 to 2024-01-04 00:00: 3 runs (3 success)\n")


def test_simulate_refuses_words_that_it_does_not_know(nbflow, sales):
    done = nbflow("simulate", "sales", "extract=explode", "-S", sales)
    assert done.code == 2
    assert done.err.startswith("nbflow simulate: extract=explode is invalid; an outcome is one of success, fail,")


# ---------------------------------------------------------------------------------------------- variables, pools, files


def test_variables_there_and_back(nbflow, tmp_path):
    # Given variables, one of them JSON, one described, and one that looks like a described one
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
    # Then they are as they were, and nobody else can read the file
    assert nbflow("variables", "list", "--show-values", "-o", "json").json == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_variables_are_shown_only_when_asked_for(nbflow):
    nbflow("variables", "set", "api_key", "hush")
    assert "hush" not in nbflow("variables", "list").out
    assert "hush" not in nbflow("variables", "list", "--show-values", "--hide-sensitive").out
    assert nbflow("variables", "get", "api_key").out == "hush\n"


def test_a_variables_default_and_its_json(nbflow):
    assert nbflow("variables", "get", "nothing", "-d", "x").out == "x\n"
    nbflow("variables", "set", "limits", '{"a": 1}')
    assert nbflow("variables", "get", "limits", "--json").json == {"a": 1}


@pytest.mark.parametrize(("action", "code", "value"), [("overwrite", 0, "new"), ("skip", 0, "old"), ("fail", 1, "old")])
def test_importing_variables_that_exist(nbflow, tmp_path, action, code, value):
    nbflow("variables", "set", "a", "old")
    path = tmp_path / "v.json"
    path.write_text('{"a": "new"}')
    assert nbflow("variables", "import", str(path), "-a", action).code == code
    assert nbflow("variables", "get", "a").out == f"{value}\n"


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.env"])
def test_connections_there_and_back(nbflow, tmp_path, name):
    # Given a connection with everything
    nbflow("connections", "add", "db", "--conn-uri", "postgres://ada:hu%2Fsh@db.example:5433/shop?sslmode=require")
    before = nbflow("connections", "get", "db", "-o", "json", "--show-values").json
    # When it is exported, deleted and imported
    path = tmp_path / name
    nbflow("connections", "export", str(path))
    nbflow("connections", "delete", "db")
    assert nbflow("connections", "get", "db").code == 1
    nbflow("connections", "import", str(path))
    # Then it is as it was, and nobody else can read the file
    assert nbflow("connections", "get", "db", "-o", "json", "--show-values").json == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_connections_secrets_are_hidden(nbflow):
    nbflow(
        "connections", "add", "db", "--conn-type", "http", "--conn-password", "hush", "--conn-extra", '{"token": "t1"}'
    )
    for form in ("table", "json", "yaml", "plain"):
        for line in (("list",), ("get", "db")):
            out = nbflow("connections", *line, "-o", form).out
            assert "hush" not in out
            assert "t1" not in out


def test_a_connections_password_may_come_from_standard_input(nbflow, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("hush\n"))
    nbflow("connections", "add", "db", "--conn-type", "http", "--conn-password", "-")
    assert nbflow("connections", "get", "db", "-o", "json", "--show-values").json[0]["password"] == "hush"


def test_pools_can_be_written_to_stdout(nbflow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = nbflow("pools", "export", "-")
    assert ([*done.json], done.err, [*tmp_path.glob("-")]) == (["default_pool"], "", [])


def test_a_connection_without_a_type_in_its_uri_is_refused(nbflow):
    done = nbflow("connections", "add", "db", "--conn-uri", "db.example:5432/shop")
    assert done.err == "nbflow: Invalid connection 'db': a URI begins with the connection type, e.g. postgres://\n"
    assert (done.code, nbflow("connections", "get", "db").code) == (1, 1)


def test_a_connection_is_spelled_in_one_way(nbflow):
    done = nbflow("connections", "add", "db", "--conn-uri", "http://a", "--conn-host", "b")
    assert done.code == 2
    assert done.err == "nbflow: Pass exactly one of --conn-uri, --conn-json, or --conn-type with --conn-host etc.\n"


def test_testing_connections_is_off(nbflow):
    nbflow("connections", "add", "db", "--conn-uri", "http://127.0.0.1:1")
    done = nbflow("connections", "test", "db")
    assert done.code == 1
    assert "Testing connections is disabled" in done.err


@pytest.fixture
def connection_test(nbflow, monkeypatch):
    """``connection_test(uri)``: add a connection "db" and test it; its code and what it says."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "enabled")

    def run(uri):
        nbflow("connections", "add", "db", "--conn-uri", uri)
        done = nbflow("connections", "test", "db")
        assert done.err == ""
        return done.code, done.out

    return run


def test_a_sqlite_connection_is_tested_by_its_hook(connection_test, tmp_path):
    path = tmp_path / "shop.db"
    path.write_bytes(b"")
    assert connection_test(f"sqlite:///{path}") == (0, "db: works: Connection successfully tested\n")


def test_a_test_makes_no_file(connection_test, tmp_path):
    path = tmp_path / "shop.db"
    code, said = connection_test(f"sqlite:///{path}")
    assert (code, path.exists()) == (1, False)
    assert said.startswith(f"db: does not work: File {path} does not exist;")


def test_a_file_that_is_no_database_does_not_work(connection_test, dag_file):
    code, said = connection_test(
        f"sqlite:///{dag_file('notes.txt', 'a text that is long enough to be looked at ' * 9)}"
    )
    assert (code, said) == (1, "db: does not work: DatabaseError: file is not a database\n")


def test_a_folder_is_tested_by_its_hook(connection_test, tmp_path):
    assert connection_test(f"fs://?path={tmp_path}") == (0, f"db: works: Path {tmp_path} exists\n")


@pytest.mark.postgres
def test_a_postgres_connection_logs_in(connection_test, new_postgres_url):
    uri = new_postgres_url().replace("postgresql+psycopg", "postgres")
    assert connection_test(uri) == (0, "db: works: Connection successfully tested\n")


@pytest.mark.postgres
def test_a_refused_login_says_why_and_shows_no_password(connection_test, session_postgres_url):
    server = session_postgres_url.replace("postgresql+psycopg", "postgres").rpartition("/")[0]
    code, said = connection_test(f"{server.replace('postgres@', 'postgres:hush-hush@')}/no_such_database")
    assert (code, said.count("\n"), "hush-hush" in said) == (1, 1, False)
    assert said.startswith("db: does not work: OperationalError: ")
    assert 'database "no_such_database" does not exist' in said


def test_without_a_hook_only_the_port_is_tried_and_it_says_so(connection_test):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, said = connection_test(f"http://127.0.0.1:{port}")
    assert (code, said) == (
        1,
        f"db: is not tested: 127.0.0.1 accepts connections on port {port}, but the type 'http' has no hook to test the "
        "login\n",
    )


def test_a_port_that_nobody_answers_does_not_work(connection_test):
    code, said = connection_test("http://127.0.0.1:1")
    assert (code, said.startswith("db: does not work: 127.0.0.1 does not accept connections on port 1: ")) == (1, True)


def test_pools_there_and_back(nbflow, tmp_path):
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


def test_db_init_makes_a_home(nbflow, home):
    assert nbflow("db", "init").code == 0
    assert {"dags", "logs", "nbflow.db", "nbflow.toml"} <= {path.name for path in home.iterdir()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_db_check_of_a_metastore_without_tables(nbflow):
    done = nbflow("db", "check")
    assert done.code == 1
    assert "nbflow db migrate" in done.err
    assert nbflow("db", "migrate").code == nbflow("db", "upgrade").code == nbflow("db", "check").code == 0


def test_db_downgrade_and_reset(nbflow):
    nbflow("variables", "set", "a", "1")
    assert nbflow("db", "reset").code == 2
    assert nbflow("db", "reset", "-y").code == 0
    assert nbflow("variables", "get", "a").code == 1
    assert nbflow("db", "downgrade", "-r", "base", "-y").code == 0
    assert nbflow("db", "check").code == 1


def test_db_clean_deletes_what_is_old(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    assert nbflow("db", "clean", "--clean-before-timestamp", "2020-01-01", "-y", "-o", "json").json == []
    counted = nbflow("db", "clean", "--clean-before-timestamp", "tomorrow", "--dry-run", "-o", "json").json
    done = nbflow("db", "clean", "--clean-before-timestamp", "tomorrow", "-y", "-o", "json").json
    assert done == counted
    assert {"table": "dag_run", "rows": 1} in done
    assert nbflow("dags", "list-runs", "sales", "-o", "json").json == []


OLD = ("--clean-before-timestamp", "tomorrow")


def test_db_clean_keeps_archives_that_can_be_written_and_dropped(nbflow, sales, tmp_path):
    # Given a run that is over, with a text that CSV must quote
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales, "-c", '{"a": "x,\\n\\"y\\""}')

    # When it is cleaned, and its archives are written
    assert nbflow("db", "clean", *OLD, "-t", "dag_run", "-y").code == 0
    written = nbflow("db", "export-archived", "--output-path", str(tmp_path), "-t", "dag_run,xcom", "-o", "json").json

    # Then the files hold what was deleted, for their owner alone
    assert [(row["archive"].split("__")[1], row["rows"]) for row in written] == [("dag_run", 1), ("xcom", 3)]
    with open(written[0]["file"], encoding="utf-8", newline="") as file:
        (run,) = csv.DictReader(file)
    assert (run["dag_id"], run["state"], json.loads(run["conf"])) == ("sales", "success", {"a": 'x,\n"y"'})
    assert (run["logical_date"], run["backfill_id"]) == ("2024-01-05T00:00:00.000000+00:00", "")
    assert Path(written[0]["file"]).stat().st_mode & 0o777 == 0o600

    # And the archives can be dropped: those of a table, those that are written, all
    assert nbflow("db", "drop-archived", "-t", "xcom").code == 2  # nobody to ask
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
    ("words", "said"),
    [
        (["-t", "task_instance"], "--tables dag_run"),
        (["-t", "dag_runs"], "Did you mean 'dag_run'"),
        (["--dag-ids", "salse"], "no DAG 'salse'"),
    ],
)
def test_db_clean_says_what_it_cannot_take(nbflow, sales, words, said):
    nbflow("dags", "test", "sales", "-S", sales)
    done = nbflow("db", "clean", *OLD, *words, "-y")
    assert (done.code > 0, done.out, said in done.err, done.err.count("\n")) == (True, "", True, 1)


def test_db_clean_of_named_dags_leaves_the_audit_log_alone(nbflow, sales):
    nbflow("dags", "test", "sales", "-S", sales)
    nbflow("variables", "set", "a", "1")
    of_dag = nbflow("db", "clean", *OLD, "--dag-ids", "sales", "--dry-run", "-o", "json").json
    of_all = nbflow("db", "clean", *OLD, "-t", "log", "--dry-run", "-o", "json").json
    assert "audit" not in {row["table"] for row in of_dag}
    assert [row["table"] for row in of_all] == ["audit"]


# ------------------------------------------------------------------------------------------------------------- teaching


def test_a_quiz_is_answered_in_the_terminal(nbflow):
    from nbflow.teach.questions import load_quiz

    quiz = load_quiz("dag_concepts")
    question = next(one for one in quiz.questions if one.type == "order")
    number, wrong = str(question.number), question.answer[::-1]
    # Given the questions
    assert question.ask in nbflow("quiz", quiz.name).out
    # When one is answered wrong, and then right
    first, then = nbflow("quiz", quiz.name, number, *wrong), nbflow("quiz", quiz.name, number, *question.answer)
    # Then it says so, and how far one is
    assert (first.code, first.out.splitlines()[0]) == (1, f"Question {number}: wrong.")
    assert (then.code, then.out.splitlines()[0]) == (0, f"Question {number}: right.")
    assert nbflow("quiz", "-o", "json").json == [
        {"quiz": quiz.name, "title": quiz.title, "questions": len(quiz.questions), "right": 1}
    ]


def test_a_lab_is_checked_in_the_terminal(nbflow, in_folder):
    # Given the first exercise, not solved and then solved
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
    # Then
    assert (first.code, first.out.splitlines()[0]) == (1, "Exercise 1: Two tasks in order: not yet")
    assert (then.code, then.out.splitlines()[0]) == (0, "Exercise 1: Two tasks in order: passed")
    assert nbflow("labs", "-o", "json").json[0]["passed"] == 1


def test_rotating_keys(nbflow, monkeypatch):
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", old)
    nbflow("variables", "set", "a", "1")
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", f"{new},{old}")
    assert nbflow("rotate-fernet-key").out == "1 secrets were re-encrypted with the newest Fernet key.\n"
    monkeypatch.setenv("NBFLOW__CORE__FERNET_KEY", new)
    assert nbflow("variables", "get", "a").out == "1\n"


# ------------------------------------------------------------------------------------------------------------- backfill


def test_a_dry_run_shows_the_runs_that_are_made(nbflow, in_folder):
    in_folder("sales.py", SALES)
    range_ = ("--dag-id", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-03")
    planned = nbflow("backfill", "create", *range_, "--dry-run", "-o", "json").json
    made = nbflow("backfill", "create", *range_, "-o", "json")
    assert made.json == {"backfill_id": 1, "dag_id": "sales", "runs": 3, "left_alone": 0}
    assert made.err.endswith("No scheduler is running. Start one with: nbflow scheduler\n")
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


def test_dags_backfill_runs_here_without_a_scheduler(nbflow, sales, app, monkeypatch):
    # Given no scheduler, and a file of one's own
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    # When days are backfilled in Airflow 2's words
    done = nbflow("dags", "backfill", "sales", "-s", "2024-02-01", "-e", "2024-02-03", "-S", sales, "-o", "json")
    # Then their runs have ended when the command does
    assert done.json == {
        "backfill_id": 1,
        "dag_id": "sales",
        "runs": 3,
        "left_alone": 0,
        "success": 3,
        "failed": 0,
    }
    assert done.code == 0
    assert [run.logical_date for run in app.store.runs("sales", states=[RunState.SUCCESS], newest_first=False)] == [
        datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3)
    ]
    # And what is there is left alone, unless it is to be reset
    again = nbflow("dags", "backfill", "sales", "-s", "2024-02-03", "-e", "2024-02-04", "-S", sales, "-n", "-o", "json")
    assert [row["action"] for row in again.json] == ["leave alone: already exists", "create"]
    reset = nbflow("dags", "backfill", "sales", "-s", "2024-02-03", "-S", sales, "--reset-dagruns", "-n", "-o", "json")
    assert [row["action"] for row in reset.json] == ["run again"]


def test_a_backfill_with_a_failed_run_ends_with_1(nbflow, dag_file, monkeypatch):
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    path = dag_file("failing.py", FAILING.replace("schedule=None", 'schedule="@daily"'))
    done = nbflow("dags", "backfill", "failing", "-s", "2024-02-01", "-S", path, "-o", "json")
    assert (done.json["failed"], done.code) == (1, 1)
    assert "See: nbflow tasks states-for-dag-run failing " in done.err


# ------------------------------------------------------------------------------------------- notebooks, other databases


def test_a_notebook_is_a_dag_file(nbflow, tmp_path):
    # Given a notebook whose cell defines a DAG, and one whose cell cannot
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
    # Then it is listed, tested and checked like any other file
    assert [row["dag_id"] for row in nbflow("dags", "list", "-S", good, "-o", "json").json] == ["hello"]
    assert nbflow("dags", "test", "hello", "-S", good, "-o", "json").json["state"] == "success"
    (fault,) = nbflow("dags", "check", bad, "-o", "json").json
    assert fault["error"].startswith("cell 2: AirflowTimetableInvalid: ")
    assert nbflow("dags", "check", bad).out.startswith(f"{bad} cell 2:1: AirflowTimetableInvalid: ")


@pytest.mark.postgres
def test_a_postgres_metastore_is_migrated_only_when_asked(nbflow, new_postgres_url, monkeypatch, sales):
    monkeypatch.setenv("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", new_postgres_url())
    # Given a new database
    refused = nbflow("dags", "list")
    assert refused.code == 1
    assert "nbflow db migrate" in refused.err
    # When it is migrated
    assert nbflow("db", "migrate").code == 0
    # Then commands work on it
    assert nbflow("dags", "test", "sales", "2024-01-05", "-S", sales, "-o", "json").json["state"] == "success"
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("status").code == 1


# ----------------------------------------------------------------------------------------------------------------- logs


def test_logs_prints_the_log_of_the_task_that_failed(nbflow, in_folder, app):
    # Given a run whose task has failed, in a process of its own
    from nbflow.cli.inline_runs import drive
    from nbflow.cli.progress import Progress

    in_folder("failing.py", FAILING)
    nbflow("dags", "unpause", "failing")
    nbflow("dags", "trigger", "failing", "-l", "2024-01-05")
    key = RunKey("failing", "manual__2024-01-05T00:00:00+00:00")
    drive(app, [key], Progress(1, "runs"))
    # When its log is asked for
    done = nbflow("logs", "failing")
    # Then it is on stdout, and whose it is on stderr
    assert (done.code, done.err) == (0, f"wrong of {key.run_id}, try 1\n")
    assert re.search(r"^2.* ERROR nbflow\.task \| Task failed: ValueError: no such customer$", done.out, re.M)
    # And a search keeps the lines with the word, or says how many it read
    found = nbflow("logs", "failing", "wrong", "last", "--search", "CUSTOMER").out.splitlines()
    assert found == [line for line in done.out.splitlines() if "customer" in line]
    nothing = nbflow("logs", "failing", "--search", "nowhere")
    read = len(done.out.splitlines())
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.err == f"wrong of {key.run_id}, try 1: No line contains 'nowhere'; {read} lines were searched.\n"


def test_logs_of_what_was_never_tried_says_so(nbflow, sales):
    nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05")
    done = nbflow("logs", "sales")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(" has started yet. See: nbflow why sales.\n")
    assert nbflow("logs", "sales", "laod", "last").err == (
        "nbflow: DAG 'sales' has no task 'laod'. Did you mean 'load'?\n"
    )
