"""Every option has an effect: each is set to another value than its default, and the effect is observed.

``OPTIONS`` is the table; an option of nbflow/config.py without a row fails. A row sets the option in a home's
environment, and makes the same observation in this home and in a home with the defaults. It observes the behaviour of
nbflow, or the value where it is used (the executor's options, the metastore's connections), by the App or by a command,
never by the settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import make_url

from nbflow.app import _open
from nbflow.authoring.dag import DAG
from nbflow.config import SECTIONS
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import SecretsError
from nbflow.secret_box import SecretBox
from nbflow.store.base import Job
from tests.settings.conftest import OpenHome
from tests.settings.settings_home import HEAD, NOW, SettingsHome

KEY = "c2V0dGluZ3Mtb2YtbmJmbG93LWluLWEtdGVzdC0wMDE="


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``value``: text in the environment. ``observe`` returns ``default`` in a home with the defaults, and ``changed``
    with the value."""

    value: str
    observe: Callable[[SettingsHome], Any]
    default: Any
    changed: Any


# -------------------------------------------------------------------------------------------------------- observations


def listed_ids(home: SettingsHome) -> list[str]:
    """The DAG ids that `dags list --local` shows."""
    return [row["dag_id"] for row in home.run_json("dags", "list", "--local")]


def ids_of_two_folders(home: SettingsHome) -> list[str]:
    for folder in ("dags", "other"):
        home.write(f"{folder}/f.py", f"from nbflow import DAG\nwith DAG('in_{folder}'): pass\n")
    return listed_ids(home)


def ids_with_an_ignore_file(home: SettingsHome) -> list[str]:
    home.write("dags/.airflowignore", "left_.*\n")
    for name in ("left_out", "left"):
        home.write(f"dags/{name}.py", f"from nbflow import DAG\nwith DAG('{name}'): pass\n")
    return listed_ids(home)


def spec_field(name: str, dag: str = "with DAG('d', schedule='@daily'): EmptyOperator(task_id='t')") -> Any:
    return lambda home: getattr(home.spec(dag), name)


def task_field(name: str) -> Any:
    return lambda home: getattr(home.spec("with DAG('d'): EmptyOperator(task_id='t')").tasks["t"], name)


def weights(home: SettingsHome) -> dict[str, int]:
    """The priority weights of the two tasks of a chain."""
    spec = home.spec("with DAG('d'): EmptyOperator(task_id='a') >> EmptyOperator(task_id='b')")
    return {task_id: task.priority_weight for task_id, task in spec.tasks.items()}


def supervisor_option(name: str) -> Any:
    return lambda home: getattr(home.app.local_executor("me")._options, name)


def process_pool_option(name: str) -> Any:
    return lambda home: getattr(home.app.local_executor("me")._options.process_pool, name)


def outcome_of(dag: str) -> Callable[[SettingsHome], str]:
    """The state in which `dags test` of a DAG ends."""

    def observe(home: SettingsHome) -> str:
        file = home.write("d.py", f"from nbflow import DAG, task\nwith DAG('d'):\n{dag}")
        return str(home.run_json("dags", "test", "d", "2024-01-05", "-S", file)["state"])

    return observe


def rendered_field(home: SettingsHome) -> int:
    file = home.write(
        "d.py",
        "from nbflow import DAG\nfrom nbflow.operators.bash import BashOperator\n"
        "with DAG('d'): BashOperator(task_id='t', bash_command='true {{ 40 * \"x\" }}')\n",
    )
    home.run("dags", "test", "d", "2024-01-05", "-S", file)
    fields_of = home.app.store.rendered(RunKey("d", "manual__2024-01-05T00:00:00+00:00"), TaskKey("t"))
    assert fields_of is not None
    return "x" * 40 in str(fields_of["bash_command"])


def logs_info(home: SettingsHome) -> bool:
    """Whether `dags test` logs messages of level INFO."""
    file = home.write("d.py", "from nbflow import DAG, task\nwith DAG('d'):\n    @task\n    def t(): ...\n    t()\n")
    return " INFO " in home.run("dags", "test", "d", "2024-01-05", "-S", file)[2]


def postgres_option(name: str) -> Callable[[SettingsHome], Any]:
    """An option of the sessions of a metastore on Postgres, which need not exist."""

    def observe(home: SettingsHome) -> str:
        database = replace(home.app.settings.database, sql_alchemy_conn="postgresql://ada@nowhere/nbflow")
        store: Any = _open(replace(home.app.settings, database=database))
        [value] = re.findall(rf"{name}=(\w+)", store._dialect.session_options)
        return str(value)

    return observe


def connections_test(home: SettingsHome) -> int:
    """The exit code of `connections test` for a valid connection."""
    home.run("connections", "add", "memory", "--conn-type", "sqlite", "--conn-host", ":memory:")
    return home.run("connections", "test", "memory")[0]


def is_encrypted_by_key(home: SettingsHome) -> bool:
    """Whether a variable is encrypted by KEY."""
    home.run("variables", "set", "shop", "Berlin")
    with home.app.store._reading() as connection:  # type: ignore[attr-defined]
        stored = connection.exec_driver_sql("SELECT value FROM variable").scalar_one()
    try:
        return SecretBox([KEY]).decrypt(stored) == "Berlin"
    except SecretsError:
        return False


def shown_variable(home: SettingsHome) -> tuple[str, str, str]:
    """A variable's value as shown by `variables list`, in a rendered field, and in the log of a task that prints it."""
    home.run("variables", "set", "shop", "Berlin")
    listed = home.run_json("variables", "list", "--show-values", "--hide-sensitive")[0]["value"]
    home.write(
        "dags/d.py",
        f"{HEAD}with DAG('d', is_paused_upon_creation=False):\n"
        "    BashOperator(task_id='t', bash_command='echo to {{ var.value.shop }}')\n",
    )
    home.processed()
    run = home.app.operations("ada").trigger("d").key
    scheduler = home.app.scheduler()
    scheduler.start()
    try:
        scheduler.loop(until=lambda result: run in result.ended)
    finally:
        scheduler.close()
    rendered = home.app.store.rendered(run, TaskKey("t"))
    log = home.app.logs.path(run, TaskKey("t"), 1).read_text("utf-8")
    assert rendered is not None
    (printed,) = {line.split()[-1] for line in log.splitlines() if line.split()[-2:-1] == ["to"]}
    return str(listed), rendered["bash_command"].removeprefix("echo to "), printed


def heartbeat_interval(home: SettingsHome) -> timedelta:
    """The time from the first loop of a scheduler to its next heartbeat."""
    scheduler = home.frozen_app.scheduler(executor=home.frozen_app.sequential_executor("me"))
    scheduler.start()
    try:
        scheduler.step()
        return scheduler.next_heartbeat - NOW
    finally:
        scheduler.close()


def status_after_twenty_seconds(home: SettingsHome) -> int:
    """The exit code of `nbflow status`, 20 seconds after the last heartbeat of a scheduler."""
    at = home.app.clock.now() - timedelta(seconds=20)
    home.app.store.put_job(
        Job(job_id="j", kind="scheduler", hostname="other-host", pid=1, started_at=at, heartbeat_at=at)
    )
    return home.run("status")[0]


def scheduled_runs(home: SettingsHome) -> int:
    """Number of runs that a scheduler creates of a DAG with a due run."""
    start = home.app.clock.now() - timedelta(days=3)
    home.write("dags/d.py", f"{HEAD}with DAG('d', schedule='@daily', start_date=datetime({start:%Y, %-m, %-d})): ...")
    home.processed()
    home.app.store.set_paused("d", False, actor="ada", now=home.app.clock.now())
    scheduler = home.app.scheduler(executor=home.app.sequential_executor("me"))
    scheduler.start()
    try:
        scheduler.step()
    finally:
        scheduler.close()
    return len(home.app.store.runs("d"))


def trigger_in_future(home: SettingsHome) -> int:
    home.registered("with DAG('d'): EmptyOperator(task_id='t')")
    return home.run("dags", "trigger", "d", "--logical-date", "2100-01-01")[0]


def processor_worker(home: SettingsHome) -> Any:
    from nbflow.services.dag_processor import _ProcessorLoop

    return _ProcessorLoop(home.app.processor(), home.app.store)


def parallel_parses(home: SettingsHome) -> int:
    """Number of files parsed in parallel, with three in the queue."""
    worker = processor_worker(home)
    worker.queue.extend(("a.py", "b.py", "c.py"))
    worker.parser.parse = lambda *_, **__: None  # a parse that never ends
    worker._start_parsing()
    return len(worker.parsing)


def scan_interval(home: SettingsHome) -> float:
    """Seconds until the DAG processor's next scan, without an event."""
    worker, timeouts = processor_worker(home), []
    worker.subprocess_jobs.loop.run_once = timeouts.append
    worker._run_once()
    return float(timeouts[0])


def is_log_complete(home: SettingsHome) -> bool:
    """Whether the log of a try keeps all of 9,000 bytes."""
    log = home.app.logs.open(RunKey("d", "r"), TaskKey("t"), 1)
    os.write(log.open_pipe().writer, b"x" * 9_000)
    log.close()
    return home.app.logs.path(RunKey("d", "r"), TaskKey("t"), 1).read_bytes() == b"x" * 9_000


def executed_notebook(home: SettingsHome) -> Path:
    from nbflow.operators.notebook import NotebookOperator

    operator = NotebookOperator(task_id="t", input_nb="in.ipynb", dag=DAG("d"))
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    return operator._target({"ti": ti}).relative_to(home.home)  # type: ignore[typeddict-item]


def kernel_name(home: SettingsHome) -> str:
    from jupyter_client.kernelspec import NoSuchKernel

    from nbflow.operators.notebook import NotebookOperator

    book = '{"cells": [], "metadata": {"kernelspec": {"name": "its-own"}}, "nbformat": 4, "nbformat_minor": 5}'
    source = Path(home.write("in.ipynb", book))
    with pytest.raises(NoSuchKernel) as caught:
        NotebookOperator(task_id="t", input_nb=str(source), dag=DAG("d"))._kernel(source)
    return caught.value.name


def output_of_a_cell(home: SettingsHome) -> set[str]:
    from nbflow.notebook.displayable import display_data
    from nbflow.ui.view_bundles import message_bundle

    return set(display_data(message_bundle("text")))


def draws_from_seed(home: SettingsHome) -> list[bool]:
    """Whether the command and the function draw the outcomes of tasks from seed 42."""
    from nbflow.notebook import simulate

    home.registered("with DAG('d', schedule='@daily', start_date=datetime(2024, 2, 1)): EmptyOperator(task_id='t')")
    output, assumptions = home.run("simulate", "d", "--days", "1")[1], " ".join(simulate("d", days=1).data.assumptions)
    return ["random (seed 42)" in text for text in (output, assumptions)]


def idle_exit(home: SettingsHome) -> str:
    from nbflow.services.schedulers import idle_options

    return idle_options(home.app.settings)[-1]


# ------------------------------------------------------------------------------------------------------------ the table

CORES = max(4, 2 * (os.cpu_count() or 1))
MAPPED = """
    @task
    def three(): return [1, 2, 3]
    @task
    def each(number): ...
    each.expand(number=three())
"""
LONG = """
    @task
    def long(): return "x" * 100
    long()
"""

OPTIONS = {
    "core.dags_folder": Row(
        value="{home}/other", observe=ids_of_two_folders, default=["in_dags"], changed=["in_other"]
    ),
    "core.executor": Row(
        value="SequentialExecutor",
        observe=lambda home: type(home.app.scheduler().executor).__name__,
        default="LocalExecutor",
        changed="SequentialExecutor",
    ),
    "core.parallelism": Row(
        value="3", observe=lambda home: home.app.executor("me").slots_free, default=CORES, changed=3
    ),
    "core.max_active_tasks_per_dag": Row(value="3", observe=spec_field("max_active_tasks"), default=16, changed=3),
    "core.max_active_runs_per_dag": Row(value="3", observe=spec_field("max_active_runs"), default=16, changed=3),
    "core.dags_are_paused_at_creation": Row(
        value="false",
        observe=lambda home: (ids_of_two_folders(home), home.processed())[1],
        default={"in_dags": True},
        changed={"in_dags": False},
    ),
    "core.dag_ignore_file_syntax": Row(
        value="regexp", observe=ids_with_an_ignore_file, default=["left", "left_out"], changed=["left"]
    ),
    "core.load_examples": Row(
        value="true", observe=lambda home: "example_hello" in home.processed(), default=False, changed=True
    ),
    "core.default_timezone": Row(
        value="Europe/Berlin",
        observe=spec_field("start_date", "with DAG('d', start_date=datetime(2024, 1, 1)): ..."),
        default=datetime.fromisoformat("2024-01-01T00:00:00Z"),
        changed=datetime.fromisoformat("2023-12-31T23:00:00Z"),
    ),
    "core.default_task_retries": Row(value="2", observe=task_field("retries"), default=0, changed=2),
    "core.default_task_retry_delay": Row(value="7", observe=task_field("retry_delay"), default=300.0, changed=7.0),
    "core.default_task_execution_timeout": Row(
        value="9", observe=task_field("execution_timeout"), default=None, changed=9.0
    ),
    "core.default_task_weight_rule": Row(
        value="upstream", observe=weights, default={"a": 2, "b": 1}, changed={"a": 1, "b": 2}
    ),
    "core.killed_task_cleanup_time": Row(
        value="7", observe=supervisor_option("grace_seconds"), default=60.0, changed=7.0
    ),
    "core.callback_timeout": Row(
        value="7",
        observe=lambda home: (
            processor_worker(home).callbacks.seconds,
            supervisor_option("limits")(home)["callback_seconds"],
        ),
        default=(60.0, 60.0),
        changed=(7.0, 7.0),
    ),
    "core.dagbag_import_timeout": Row(
        value="7",
        observe=lambda home: (processor_worker(home).parser.seconds, process_pool_option("load_seconds")(home)),
        default=(30.0, 30.0),
        changed=(7.0, 7.0),
    ),
    "core.max_map_length": Row(value="2", observe=outcome_of(MAPPED), default="success", changed="failed"),
    "core.max_templated_field_length": Row(value="20", observe=rendered_field, default=True, changed=False),
    "core.max_xcom_bytes": Row(value="50", observe=outcome_of(LONG), default="success", changed="failed"),
    "core.test_connection": Row(
        value="Enabled", observe=connections_test, default=1, changed=0
    ),
    "core.task_memory_limit": Row(
        value="512", observe=supervisor_option("memory_limit_bytes"), default=None, changed=512 * 2**20
    ),
    "core.task_environment": Row(
        value="SHOP",
        observe=lambda home: process_pool_option("environment")(home).get("SHOP"),
        default=None,
        changed="Berlin",
    ),
    "core.execute_tasks_new_python_interpreter": Row(
        value="true", observe=process_pool_option("reload_every_try"), default=False, changed=True
    ),
    "core.fernet_key": Row(value=KEY, observe=is_encrypted_by_key, default=False, changed=True),
    "core.sensitive_var_conn_names": Row(
        value="shop", observe=shown_variable, default=("Berlin",) * 3, changed=("***",) * 3
    ),
    "database.sql_alchemy_conn": Row(
        value="sqlite:///{home}/other.db",
        observe=lambda home: Path(make_url(home.app.store.url).database or "").name,
        default="nbflow.db",
        changed="other.db",
    ),
    "database.synchronous": Row(value="FULL", observe=lambda home: home.pragma("synchronous"), default=1, changed=2),
    "database.busy_timeout_seconds": Row(
        value="7", observe=lambda home: home.pragma("busy_timeout"), default=30_000, changed=7_000
    ),
    "database.idle_in_transaction_timeout_seconds": Row(
        value="3",
        observe=postgres_option("idle_in_transaction_session_timeout"),
        default="20000",
        changed="3000",
    ),
    "database.lock_timeout_seconds": Row(
        value="3", observe=postgres_option("lock_timeout"), default="25000", changed="3000"
    ),
    "scheduler.catchup_by_default": Row(
        value="true",
        observe=spec_field("catchup", "with DAG('d', schedule='@daily', start_date=datetime(2024, 1, 1)): ..."),
        default=False,
        changed=True,
    ),
    "scheduler.create_cron_data_intervals": Row(
        value="false",
        observe=lambda home: spec_field("schedule")(home)["kind"],
        default="cron_interval",
        changed="cron_trigger",
    ),
    "scheduler.scheduler_heartbeat_sec": Row(
        value="7", observe=heartbeat_interval, default=timedelta(seconds=5), changed=timedelta(seconds=7)
    ),
    "scheduler.scheduler_health_check_threshold": Row(
        value="10", observe=status_after_twenty_seconds, default=0, changed=1
    ),
    "scheduler.task_instance_heartbeat_sec": Row(
        value="7", observe=supervisor_option("heartbeat_seconds"), default=5.0, changed=7.0
    ),
    "scheduler.task_instance_heartbeat_timeout": Row(
        value="7", observe=supervisor_option("lease_seconds"), default=60.0, changed=7.0
    ),
    "scheduler.idle_minutes": Row(value="0.5", observe=idle_exit, default="10", changed="0.5"),
    "scheduler.use_job_schedule": Row(value="false", observe=scheduled_runs, default=1, changed=0),
    "scheduler.allow_trigger_in_future": Row(value="true", observe=trigger_in_future, default=1, changed=0),
    "dag_processor.parsing_processes": Row(value="3", observe=parallel_parses, default=2, changed=3),
    "dag_processor.refresh_interval": Row(value="7", observe=scan_interval, default=60.0, changed=7.0),
    "logging.base_log_folder": Row(
        value="{home}/other",
        observe=lambda home: home.app.logs.path(RunKey("d", "r"), TaskKey("t"), 1).relative_to(home.home).parts[0],
        default="logs",
        changed="other",
    ),
    "logging.logging_level": Row(value="WARNING", observe=logs_info, default=True, changed=False),
    "logging.max_log_bytes_per_try": Row(value="1024", observe=is_log_complete, default=True, changed=False),
    "operators.default_owner": Row(value="ada", observe=spec_field("owners"), default=("airflow",), changed=("ada",)),
    "operators.default_queue": Row(value="fast", observe=task_field("queue"), default="default", changed="fast"),
    "notebook.output_folder": Row(
        value="{home}/other",
        observe=executed_notebook,
        default=Path("notebooks/d/r/t-try1.ipynb"),
        changed=Path("other/d/r/t-try1.ipynb"),
    ),
    "notebook.kernel_name": Row(value="chosen", observe=kernel_name, default="its-own", changed="chosen"),
    "notebook.save_output": Row(
        value="false", observe=output_of_a_cell, default={"text/html", "text/plain"}, changed={"text/plain"}
    ),
    "sim.seed": Row(value="42", observe=draws_from_seed, default=[False, False], changed=[True, True]),
}  # fmt: skip


def test_every_option_has_a_row():
    assert set(OPTIONS) == {f"{section}.{spec.name}" for section, kind in SECTIONS.items() for spec in fields(kind)}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_has_an_effect(open_home: OpenHome, name: str):
    row = OPTIONS[name]
    # When the observation is made in a home with the defaults, and in a home where the option is set
    with open_home() as home:
        by_default = row.observe(home)
    with open_home(name, row.value) as home:
        changed = row.observe(home)
    # Then both are as in the table, and they differ
    assert (by_default, changed) == (row.default, row.changed)
    assert row.default != row.changed
