"""The full JSON output of every listing, which scripts read.

Times that depend on the time of the test are compared with those in the metastore, and reasons with those of the
evaluation, so that the text of a reason may change.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import CAUSES, RUN_CAUSES, Cause, RunCause
from nbflow.sources.discovery import EXAMPLES, find_dag_files, is_dag_file
from nbflow.store.base import Job, Pool
from tests.cli.conftest import BROKEN, FAILING, CommandResult

SALES = """
    from datetime import datetime
    from nbflow import DAG, task

    with DAG(
        "sales",
        schedule="@daily",
        start_date=datetime(2024, 1, 1),
        end_date=datetime(2030, 1, 31),
        catchup=True,
        tags=["shop", "daily"],
        params={"rate": 2},
        description="What was sold",
        default_args={"owner": "ada"},
    ) as dag:
        @task
        def extract():
            return [1, 2]

        @task(pool="small")
        def double(number):
            return number * 2

        @task(retries=1, trigger_rule="all_done")
        def load(numbers):
            pass

        load(double.expand(number=extract()))
"""
BERLIN = """
    from nbflow import DAG
    from nbflow.operators.empty import EmptyOperator
    import pendulum

    with DAG("berlin", schedule="30 2 * * *", start_date=pendulum.datetime(2040, 3, 30, tz="Europe/Berlin")):
        EmptyOperator(task_id="one")
"""
ENDED, QUEUED = "manual__2024-01-06T00:00:00+00:00", "manual__2024-01-05T00:00:00+00:00"

Nbflow = Callable[..., CommandResult]


def iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


@pytest.fixture
def shop(nbflow: Nbflow, in_folder: Callable[[str, str], str], app: App, home: Path) -> Path:
    """Three DAGs: one with an ended and a queued run, one with a failed run, and one in another time zone."""
    for name, text in (("sales", SALES), ("berlin", BERLIN), ("failing", FAILING)):
        in_folder(f"{name}.py", text)
        nbflow("dags", "unpause", name)
    app.store.set_pool(Pool(name="small", slots=1, description="Few"), actor="test", now=app.clock.now())
    nbflow("dags", "test", "sales", "2024-01-06")
    nbflow("dags", "test", "failing", "2024-01-05")
    nbflow("dags", "trigger", "sales", "-l", "2024-01-05")
    nbflow("dags", "pause", "failing")
    return home


@pytest.fixture
def listed(nbflow: Nbflow) -> Callable[..., Any]:
    """``listed("dags", "list")``: the JSON output of a command."""
    return lambda *words: nbflow(*words, "-o", "json").json


# ----------------------------------------------------------------------------------------------------------------- DAGs


def test_dags_list(listed: Callable[..., Any], shop: Path) -> None:
    def row(name: str, schedule: str, *, paused: bool = False, owners: str = "airflow", tags: str = "") -> Any:
        return {
            "dag_id": name,
            "schedule": schedule,
            "is_paused": paused,
            "next_run": None,
            "owners": owners,
            "tags": tags,
            "fileloc": f"{shop}/dags/{name}.py",
        }

    assert listed("dags", "list") == [
        row("berlin", "30 2 * * *"),
        row("failing", "None", paused=True),
        row("sales", "@daily", owners="ada", tags="daily, shop"),
    ]


@pytest.mark.parametrize(("load_examples", "listed_too"), [("true", True), ("false", False)])
def test_local_dags_include_the_examples_if_the_setting_says_so(
    nbflow: Nbflow, shop: Path, monkeypatch: pytest.MonkeyPatch, load_examples: str, listed_too: bool
) -> None:
    monkeypatch.setenv("NBFLOW__CORE__LOAD_EXAMPLES", load_examples)
    rows = nbflow("dags", "list", "--local", "-o", "json").json
    assert ("example_hello" in [row["dag_id"] for row in rows]) is listed_too
    # And a listing of the metastore says that no scheduler has parsed them
    unread = f"{sum(map(is_dag_file, find_dag_files(EXAMPLES)))} new files have not been parsed yet"
    assert (unread in nbflow("dags", "list").err) is listed_too


def test_dags_list_with_selected_columns(nbflow: Nbflow, listed: Callable[..., Any], app: App, shop: Path) -> None:
    # Given a DAG with a next run, and a stale DAG
    at = datetime(2024, 1, 7, tzinfo=UTC)
    app.store.set_next_run("sales", run_after=at + timedelta(days=1), logical_date=at, interval=(at, at))
    app.store.set_stale(["failing"], True, now=at)
    names = "next_logical_date,dag_id,next_run,version,is_stale,has_import_errors,last_parsed,description"

    berlin, sales = listed("dags", "list", "--columns", names)

    parsed = {row.dag_id: iso(row.last_parsed_at) for row in app.store.dags()}
    assert sales == {
        "next_logical_date": "2024-01-07T00:00:00.000000+00:00",
        "dag_id": "sales",
        "next_run": "2024-01-08T00:00:00.000000+00:00",
        "version": 1,
        "is_stale": False,
        "has_import_errors": False,
        "last_parsed": parsed["sales"],
        "description": "What was sold",
    }
    assert list(sales) == names.split(",")
    assert (berlin["dag_id"], berlin["next_run"], berlin["description"]) == ("berlin", None, None)


def test_dags_list_in_plain_format(nbflow: Nbflow, shop: Path) -> None:
    lines = nbflow("dags", "list", "-o", "plain", "--columns", "dag_id,is_paused,tags,next_run").out.splitlines()

    assert lines == [
        "dag_id   is_paused  tags         next_run",
        "berlin   False      -            -",
        "failing  True       -            -",
        "sales    False      daily, shop  -",
    ]


def test_dags_details(listed: Callable[..., Any], shop: Path) -> None:
    assert listed("dags", "details", "sales") == {
        "dag_id": "sales",
        "description": "What was sold",
        "fileloc": f"{shop}/dags/sales.py",
        "version": 1,
        "schedule": "@daily",
        "timezone": "UTC",
        "start_date": "2024-01-01T00:00:00.000000+00:00",
        "end_date": "2030-01-31T00:00:00.000000+00:00",
        "catchup": True,
        "is_paused": False,
        "next_run": None,
        "max_active_runs": 16,
        "max_active_tasks": 16,
        "dagrun_timeout": None,
        "tags": ["daily", "shop"],
        "owners": ["ada"],
        "params": {"rate": 2},
        "tasks": ["extract", "double", "load"],
    }


def test_dags_details_of_a_file(listed: Callable[..., Any], sales: str) -> None:
    details = listed("dags", "details", "sales", "-S", sales)

    assert {name: details[name] for name in ("fileloc", "version", "is_paused", "next_run", "params")} == {
        "fileloc": sales,
        "version": None,
        "is_paused": None,
        "next_run": None,
        "params": {"rate": 2},
    }


def test_dags_next_execution(nbflow: Nbflow, listed: Callable[..., Any], shop: Path) -> None:
    # Given a DAG whose start date is the day before clocks go forward in Berlin
    march = "2040-03-{}T{}:30:00.000000+00:00"

    assert listed("dags", "next-execution", "berlin", "-n", "2") == [
        {
            "logical_date": march.format(30, "00"),
            "data_interval_start": march.format(30, "00"),
            "data_interval_end": march.format(31, "00"),
            "run_after": march.format(31, "00"),
        },
        {
            "logical_date": march.format(31, "00"),
            "data_interval_start": march.format(31, "00"),
            "data_interval_end": "2040-04-01T00:30:00.000000+00:00",
            "run_after": "2040-04-01T00:30:00.000000+00:00",
        },
    ]
    assert nbflow("dags", "next-execution", "berlin").out == "2040-03-30T00:30:00.000000+00:00\n"
    # And a DAG without a schedule has no next run
    assert listed("dags", "next-execution", "failing") == []
    assert nbflow("dags", "next-execution", "failing").out == "None\n"


def test_dags_next_execution_of_a_dag_without_scheduled_runs_starts_at_its_start_date(
    nbflow: Nbflow, listed: Callable[..., Any], shop: Path
) -> None:
    # Given a DAG with catchup that has only manual runs
    days = [row["logical_date"][:10] for row in listed("dags", "next-execution", "sales", "-n", "2")]
    # Then its first run is that of its start date
    assert days == ["2024-01-01", "2024-01-02"]


def test_dags_list_import_errors(
    nbflow: Nbflow, listed: Callable[..., Any], in_folder: Callable[[str, str], str], app: App
) -> None:
    # Given a file with import errors
    from nbflow.store.base import DagImportError

    path = in_folder("broken.py", BROKEN)
    errors = [
        DagImportError(fileloc=path, line=4, error="ValueError: no", detail="Traceback"),
        DagImportError(fileloc=path, line=None, error="OSError: gone", cell="cell 2"),
    ]
    app.store.put_import_errors(path, errors, now=app.clock.now())

    assert listed("dags", "list-import-errors") == [
        {"filepath": path, "line": 4, "error": "ValueError: no"},
        {"filepath": path, "line": None, "error": "cell 2: OSError: gone"},
    ]


# ----------------------------------------------------------------------------------------------------------------- runs


def test_dags_list_runs(listed: Callable[..., Any], app: App, shop: Path) -> None:
    ended = app.store.run(RunKey("sales", ENDED))
    assert ended is not None

    assert listed("dags", "list-runs", "sales") == [
        {
            "dag_id": "sales",
            "run_id": ENDED,
            "run_type": "manual",
            "state": "success",
            "logical_date": "2024-01-06T00:00:00.000000+00:00",
            "data_interval_start": "2024-01-05T00:00:00.000000+00:00",
            "data_interval_end": "2024-01-06T00:00:00.000000+00:00",
            "start_date": iso(ended.start_date),
            "end_date": iso(ended.end_date),
        },
        {
            "dag_id": "sales",
            "run_id": QUEUED,
            "run_type": "manual",
            "state": "queued",
            "logical_date": "2024-01-05T00:00:00.000000+00:00",
            "data_interval_start": "2024-01-04T00:00:00.000000+00:00",
            "data_interval_end": "2024-01-05T00:00:00.000000+00:00",
            "start_date": None,
            "end_date": None,
        },
    ]


def test_dags_list_runs_without_backfills(nbflow: Nbflow, listed: Callable[..., Any], shop: Path) -> None:
    nbflow("backfill", "create", "-d", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-01")

    def days(*words: str) -> list[str]:
        return [f"{row['run_type']} {row['logical_date'][:10]}" for row in listed("dags", "list-runs", "sales", *words)]

    assert days() == ["backfill 2024-02-01", "manual 2024-01-06", "manual 2024-01-05"]
    assert days("--no-backfill") == ["manual 2024-01-06", "manual 2024-01-05"]


def test_tasks_list(nbflow: Nbflow, listed: Callable[..., Any], shop: Path) -> None:
    defaults = {
        "operator": "DecoratedPythonOperator",
        "trigger_rule": "all_success",
        "pool": "default_pool",
        "retries": 0,
    }

    assert listed("tasks", "list", "sales") == [
        defaults | {"task_id": "extract", "upstream": [], "is_mapped": False},
        defaults | {"task_id": "double", "upstream": ["extract"], "pool": "small", "is_mapped": True},
        defaults
        | {"task_id": "load", "upstream": ["double"], "trigger_rule": "all_done", "retries": 1, "is_mapped": False},
    ]
    assert nbflow("tasks", "list", "sales").out == "double\nextract\nload\n"


def test_tasks_states_for_dag_run(listed: Callable[..., Any], app: App, shop: Path) -> None:
    rows = listed("tasks", "states-for-dag-run", "sales", ENDED)

    assert rows == [
        {
            "dag_id": "sales",
            "run_id": ENDED,
            "logical_date": "2024-01-06T00:00:00.000000+00:00",
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "state": "success",
            "try_number": 1,
            "start_date": iso(ti.start_date),
            "end_date": iso(ti.end_date),
        }
        for ti in app.store.instances(RunKey("sales", ENDED))
    ]
    assert [(row["task_id"], row["map_index"]) for row in rows] == [
        ("double", 0),
        ("double", 1),
        ("extract", -1),
        ("load", -1),
    ]


# ------------------------------------------------------------------------------------------------------------------ why


def test_why(listed: Callable[..., Any], app: App, shop: Path) -> None:
    waits = app.operations("user:test").why(RunKey("sales", QUEUED))

    def row(task_id: str) -> Any:
        return {
            "task_id": task_id,
            "map_index": -1,
            "state": None,
            "kind": "no_scheduler",
            "reason": waits[TaskKey(task_id)].text,
            "until": None,
        }

    assert listed("why", "sales", "2024-01-05") == [row("double"), row("extract"), row("load")]


def test_why_of_an_ended_run_is_empty(nbflow: Nbflow, listed: Callable[..., Any], shop: Path) -> None:
    assert listed("why", "failing") == []
    # And the table format prints what failed
    assert "wrong (try 1): ValueError: no such customer" in nbflow("why", "failing").out


# ------------------------------------------------------------------------------------------------------------ backfills


def test_the_dry_run_of_backfill_create(listed: Callable[..., Any], shop: Path) -> None:
    day = "2024-01-{:02d}T00:00:00.000000+00:00".format

    def row(ordinal: int, run_id: str | None, action: str) -> Any:
        return {
            "ordinal": ordinal,
            "logical_date": day(ordinal + 3),
            "data_interval_start": day(ordinal + 3),
            "data_interval_end": day(ordinal + 4),
            "run_id": run_id,
            "action": action,
        }

    words = ("-d", "sales", "--from-date", "2024-01-04", "--to-date", "2024-01-06", "--dry-run")
    assert listed("backfill", "create", *words) == [
        row(1, "backfill__2024-01-05T00:00:00+00:00", "create"),
        row(2, None, "leave alone: in flight"),
        row(3, None, "leave alone: already exists"),
    ]


def test_backfill_list(nbflow: Nbflow, listed: Callable[..., Any], app: App, shop: Path) -> None:
    # Given a cancelled and a paused backfill
    def create(day: int) -> int:
        words = ("-d", "sales", "--from-date", f"2024-02-{day:02d}", "--to-date", f"2024-02-{day + 1:02d}")
        return int(listed("backfill", "create", *words)["backfill_id"])

    first = create(1)
    nbflow("backfill", "cancel", str(first))
    second = create(3)
    nbflow("backfill", "pause", str(second))

    def row(number: int, state: str, day: int, **counts: int) -> Any:
        backfill = app.store.backfill(number)
        assert backfill is not None
        return {
            "backfill_id": number,
            "dag_id": "sales",
            "state": state,
            "from_date": f"2024-02-{day:02d}T00:00:00.000000+00:00",
            "to_date": f"2024-02-{day + 1:02d}T00:00:00.000000+00:00",
            "runs": 2,
            **counts,
            "created_at": iso(backfill.created_at),
        }

    cancelled, paused = row(first, "cancelled", 1, done=2, failed=2), row(second, "paused", 3, done=0, failed=0)
    assert listed("backfill", "list") == [cancelled, paused]
    assert listed("backfill", "list", "--active") == [paused]
    assert listed("backfill", "list", "failing") == []


# ----------------------------------------------------------------------------------------------------- other listings


def test_jobs_list(listed: Callable[..., Any], app: App, home: Path) -> None:
    # Given schedulers on another host: one running, one whose heartbeat stopped, and one that has ended
    now = app.clock.now()
    ages = {"alive": (10, None), "lost": (3600, None), "ended": (7200, now - timedelta(seconds=7200))}
    for name, (age, end) in ages.items():
        heartbeat = now - timedelta(seconds=age)
        app.store.put_job(
            Job(
                job_id=name,
                kind="scheduler",
                hostname="other-host",
                pid=7,
                started_at=heartbeat,
                heartbeat_at=heartbeat,
                ended_at=end,
            )
        )

    def row(name: str, state: str) -> Any:
        age, end = ages[name]
        heartbeat = iso(now - timedelta(seconds=age))
        return {
            "job_id": name,
            "job_type": "scheduler",
            "state": state,
            "hostname": "other-host",
            "pid": 7,
            "start_date": heartbeat,
            "end_date": iso(end),
            "latest_heartbeat": heartbeat,
        }

    assert socket.gethostname() != "other-host"
    jobs = [row("alive", "running"), row("lost", "failed"), row("ended", "success")]
    assert listed("jobs", "list") == listed("dags", "list-jobs") == jobs
    assert listed("jobs", "list", "--state", "failed") == [jobs[1]]
    assert listed("jobs", "list", "--limit", "1") == [jobs[0]]


def test_status(nbflow: Nbflow, app: App, shop: Path) -> None:
    result = nbflow("status", "-o", "json")

    assert (result.code, result.json) == (
        1,
        {
            "scheduler": "not running",
            "schedulers": 0,
            "metastore": app.store.url,
            "home": str(shop),
            "dags": 3,
            "import_errors": 0,
            "queued_runs": 1,
            "running_runs": 0,
            "running_tasks": 0,
            "next_run": iso(app.store.next_due()),
        },
    )


def test_pools_list(listed: Callable[..., Any], shop: Path) -> None:
    assert listed("pools", "list") == [
        {"pool": "default_pool", "slots": 128, "description": "Default pool", "include_deferred": False, "taken": 0},
        {"pool": "small", "slots": 1, "description": "Few", "include_deferred": False, "taken": 0},
    ]


def test_variables_and_connections(nbflow: Nbflow, listed: Callable[..., Any]) -> None:
    nbflow("variables", "set", "rate", "2")
    nbflow("connections", "add", "shop", "--conn-uri", "postgresql://ada:hush@db:5432/sales?sslmode=require")

    assert listed("variables", "list") == [{"key": "rate", "description": None}]
    assert listed("connections", "list") == [
        {
            "conn_id": "shop",
            "conn_type": "postgres",
            "description": None,
            "host": "db",
            "login": "ada",
            "password": "***",
            "schema": "sales",
            "port": 5432,
            "extra": '{"sslmode": "***"}',
        }
    ]


def test_simulate(listed: Callable[..., Any], shop: Path) -> None:
    def at(minute: int) -> str:
        return f"2024-03-01T00:{minute:02d}:00.000000+00:00"

    def task(task_id: str, start: int) -> Any:
        return {
            "task_id": task_id,
            "map_index": -1,
            "try_number": 1,
            "start": at(start),
            "end": at(start + 1),
            "state": "success",
            "why": CAUSES[Cause.SUCCEEDED],
        }

    assert listed("simulate", "failing", "wrong.seconds=60", "-s", "2024-03-01", "--days", "1") == [
        {
            "run_id": "manual__2024-03-01T00:00:00+00:00",
            "run_type": "manual",
            "logical_date": at(0),
            "due": at(0),
            "started": at(0),
            "ended": at(2),
            "state": "success",
            "why": RUN_CAUSES[RunCause.ALL_TASKS_DONE],
            "tasks": [task("wrong", 0), task("after", 1)],
        }
    ]
