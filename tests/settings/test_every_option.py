"""A setting that changes nothing is a promise that nothing keeps: each option is set, and what it changes is looked at.

``OPTIONS`` is the table: an option of nbflow/config.py without a row fails. A row sets the option to another value than
its default in a home's environment, and observes the same thing there and in a home with the defaults. An observation
looks at what nbflow does, or at the value where it arrives (the executor's options, the metastore's connections), got
from the App or from a command; never at the settings themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import make_url

from nbflow.authoring.dag import DAG
from nbflow.config import SECTIONS
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import SecretsError
from nbflow.secrets import SecretBox
from nbflow.store.base import Job
from tests.settings.conftest import Places
from tests.settings.place import HEAD, NOW, Place

KEY = "c2V0dGluZ3Mtb2YtbmJmbG93LWluLWEtdGVzdC0wMDE="


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``value`` as the environment spells it; what ``observe`` gives by default, and with the value."""

    value: str
    observe: Callable[[Place], Any]
    default: Any
    changed: Any


# -------------------------------------------------------------------------------------------------------- observations


def listed_ids(here: Place) -> list[str]:
    """The DAGs of the DAGs folder, read by a command."""
    return [row["dag_id"] for row in here.listed("dags", "list", "--local")]


def in_two_folders(here: Place) -> list[str]:
    for folder in ("dags", "other"):
        here.write(f"{folder}/f.py", f"from nbflow import DAG\nwith DAG('in_{folder}'): pass\n")
    return listed_ids(here)


def with_an_ignore_file(here: Place) -> list[str]:
    here.write("dags/.airflowignore", "left_.*\n")
    for name in ("left_out", "left"):
        here.write(f"dags/{name}.py", f"from nbflow import DAG\nwith DAG('{name}'): pass\n")
    return listed_ids(here)


def of_the_spec(name: str, dag: str = "with DAG('d', schedule='@daily'): EmptyOperator(task_id='t')") -> Any:
    return lambda here: getattr(here.spec(dag), name)


def of_its_task(name: str) -> Any:
    return lambda here: getattr(here.spec("with DAG('d'): EmptyOperator(task_id='t')").tasks["t"], name)


def weights(here: Place) -> dict[str, int]:
    """Of the two tasks of a chain."""
    spec = here.spec("with DAG('d'): EmptyOperator(task_id='a') >> EmptyOperator(task_id='b')")
    return {task_id: task.priority_weight for task_id, task in spec.tasks.items()}


def of_the_supervisor(name: str) -> Any:
    return lambda here: getattr(here.app.local_executor("me")._options, name)


def of_its_children(name: str) -> Any:
    return lambda here: getattr(here.app.local_executor("me")._options.process_pool, name)


def outcome_of(dag: str) -> Callable[[Place], str]:
    """How a test of a DAG ends."""

    def observe(here: Place) -> str:
        file = here.write("d.py", f"from nbflow import DAG, task\nwith DAG('d'):\n{dag}")
        return str(here.listed("dags", "test", "d", "2024-01-05", "-S", file)["state"])

    return observe


def rendered_field(here: Place) -> int:
    file = here.write(
        "d.py",
        "from nbflow import DAG\nfrom nbflow.operators.bash import BashOperator\n"
        "with DAG('d'): BashOperator(task_id='t', bash_command='true {{ 40 * \"x\" }}')\n",
    )
    here.run("dags", "test", "d", "2024-01-05", "-S", file)
    fields_of = here.app.store.rendered(RunKey("d", "manual__2024-01-05T00:00:00+00:00"), TaskKey("t"))
    assert fields_of is not None
    return "x" * 40 in str(fields_of["bash_command"])


def first_lines(here: Place) -> bool:
    """Whether a test of a DAG logs what is for information alone."""
    file = here.write("d.py", "from nbflow import DAG, task\nwith DAG('d'):\n    @task\n    def t(): ...\n    t()\n")
    return " INFO " in here.run("dags", "test", "d", "2024-01-05", "-S", file)[2]


def connection_tested(here: Place) -> int:
    """The exit code of testing a connection that works."""
    here.run("connections", "add", "here", "--conn-type", "sqlite", "--conn-host", ":memory:")
    return here.run("connections", "test", "here")[0]


def stored_with(here: Place) -> bool:
    """Whether a variable is stored under KEY."""
    here.run("variables", "set", "shop", "Berlin")
    with here.app.store._reading() as connection:  # type: ignore[attr-defined]
        stored = connection.exec_driver_sql("SELECT value FROM variable").scalar_one()
    try:
        return SecretBox([KEY]).decrypt(stored) == "Berlin"
    except SecretsError:
        return False


def shown_variable(here: Place) -> tuple[str, str, str]:
    """How a variable's value is shown in the list, in a rendered template, and in the log of a task that prints it."""
    here.run("variables", "set", "shop", "Berlin")
    listed = here.listed("variables", "list", "--show-values", "--hide-sensitive")[0]["value"]
    here.write(
        "dags/d.py",
        f"{HEAD}with DAG('d', is_paused_upon_creation=False):\n"
        "    BashOperator(task_id='t', bash_command='echo to {{ var.value.shop }}')\n",
    )
    here.processed()
    run = here.app.operations("ada").trigger("d").key
    scheduler = here.app.scheduler()
    scheduler.start()
    try:
        scheduler.loop(until=lambda turn: run in turn.ended)
    finally:
        scheduler.close()
    rendered = here.app.store.rendered(run, TaskKey("t"))
    log = here.app.logs.path(run, TaskKey("t"), 1).read_text("utf-8")
    assert rendered is not None
    (printed,) = {line.split()[-1] for line in log.splitlines() if line.split()[-2:-1] == ["to"]}
    return str(listed), rendered["bash_command"].removeprefix("echo to "), printed


def heartbeat(here: Place) -> timedelta:
    """How soon a scheduler that starts gives its next sign of life."""
    scheduler = here.still.scheduler(executor=here.still.sequential_executor("me"))
    scheduler.start()
    try:
        return scheduler.next_heartbeat - NOW
    finally:
        scheduler.close()


def heard_of_twenty_seconds_ago(here: Place) -> int:
    """Whether such a scheduler counts as living: the exit code of `nbflow status`."""
    at = here.app.clock.now() - timedelta(seconds=20)
    here.app.store.put_job(
        Job(job_id="j", kind="scheduler", hostname="elsewhere", pid=1, started_at=at, heartbeat_at=at)
    )
    return here.run("status")[0]


def scheduled_runs(here: Place) -> int:
    """Runs that a scheduler makes of a DAG that is due."""
    start = here.app.clock.now() - timedelta(days=3)
    here.write("dags/d.py", f"{HEAD}with DAG('d', schedule='@daily', start_date=datetime({start:%Y, %-m, %-d})): ...")
    here.processed()
    here.app.store.set_paused("d", False, actor="ada", now=here.app.clock.now())
    scheduler = here.app.scheduler(executor=here.app.sequential_executor("me"))
    scheduler.start()
    try:
        scheduler.step()
    finally:
        scheduler.close()
    return len(here.app.store.runs("d"))


def triggered_for_later(here: Place) -> int:
    here.registered("with DAG('d'): EmptyOperator(task_id='t')")
    return here.run("dags", "trigger", "d", "--logical-date", "2100-01-01")[0]


def processor_work(here: Place) -> Any:
    from nbflow.services.dag_processor import _ProcessorLoop

    return _ProcessorLoop(here.app.processor(), here.app.store)


def parsed_at_once(here: Place) -> int:
    """Of three files that wait, how many are being parsed."""
    work = processor_work(here)
    work.queue.extend(("a.py", "b.py", "c.py"))
    work.parser.parse = lambda *_, **__: None  # a parse that never ends
    work._start_parsing()
    return len(work.parsing)


def until_the_next_look(here: Place) -> float:
    """How long the DAG processor sleeps, where nothing wakes it."""
    work, slept = processor_work(here), []
    work.subprocess_jobs.loop.run_once = slept.append
    work._run_once()
    return float(slept[0])


def kept_of_a_log(here: Place) -> bool:
    """Whether a try's log of 9,000 bytes is kept as a whole."""
    log = here.app.logs.open(RunKey("d", "r"), TaskKey("t"), 1)
    os.write(log.fileno(), b"x" * 9_000)
    log.trim()
    log.close()
    return here.app.logs.path(RunKey("d", "r"), TaskKey("t"), 1).read_bytes() == b"x" * 9_000


def executed_notebook(here: Place) -> Path:
    from nbflow.operators.notebook import NotebookOperator

    operator = NotebookOperator(task_id="t", input_nb="in.ipynb", dag=DAG("d"))
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    return operator._target({"ti": ti}).relative_to(here.home)  # type: ignore[typeddict-item]


def kernel_asked_for(here: Place) -> str:
    from jupyter_client.kernelspec import NoSuchKernel

    from nbflow.operators.notebook import NotebookOperator

    book = '{"cells": [], "metadata": {"kernelspec": {"name": "its-own"}}, "nbformat": 4, "nbformat_minor": 5}'
    source = Path(here.write("in.ipynb", book))
    with pytest.raises(NoSuchKernel) as asked:
        NotebookOperator(task_id="t", input_nb=str(source), dag=DAG("d"))._kernel(source)
    return asked.value.name


def output_of_a_cell(here: Place) -> set[str]:
    from nbflow.notebook.displayable import seen
    from nbflow.ui.html import message_bundle

    return set(seen(message_bundle("told")))


def drawn_from(here: Place) -> list[bool]:
    """Whether the command and the magic draw what tasks do from seed 42."""
    from nbflow.notebook import simulate

    here.registered("with DAG('d', schedule='@daily', start_date=datetime(2024, 2, 1)): EmptyOperator(task_id='t')")
    shown = here.run("simulate", "d", "--days", "1")[1], *simulate("d", days=1).data.assumptions
    return ["drawn from seed 42" in part for part in (shown[0], " ".join(shown[1:]))]


def idle_exit(here: Place) -> str:
    from nbflow.services.schedulers import idle_options

    return idle_options(here.app.settings)[-1]


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
        value="{home}/other", observe=in_two_folders, default=["in_dags"], changed=["in_other"]
    ),
    "core.executor": Row(
        value="SequentialExecutor",
        observe=lambda here: type(here.app.scheduler().executor).__name__,
        default="LocalExecutor",
        changed="SequentialExecutor",
    ),
    "core.parallelism": Row(
        value="3", observe=lambda here: here.app.executor("me").slots_free, default=CORES, changed=3
    ),
    "core.max_active_tasks_per_dag": Row(value="3", observe=of_the_spec("max_active_tasks"), default=16, changed=3),
    "core.max_active_runs_per_dag": Row(value="3", observe=of_the_spec("max_active_runs"), default=16, changed=3),
    "core.dags_are_paused_at_creation": Row(
        value="false",
        observe=lambda here: (in_two_folders(here), here.processed())[1],
        default={"in_dags": True},
        changed={"in_dags": False},
    ),
    "core.dag_ignore_file_syntax": Row(
        value="regexp", observe=with_an_ignore_file, default=["left", "left_out"], changed=["left"]
    ),
    "core.load_examples": Row(
        value="true", observe=lambda here: "example_hello" in here.processed(), default=False, changed=True
    ),
    "core.default_timezone": Row(
        value="Europe/Berlin",
        observe=of_the_spec("start_date", "with DAG('d', start_date=datetime(2024, 1, 1)): ..."),
        default=datetime.fromisoformat("2024-01-01T00:00:00Z"),
        changed=datetime.fromisoformat("2023-12-31T23:00:00Z"),
    ),
    "core.default_task_retries": Row(value="2", observe=of_its_task("retries"), default=0, changed=2),
    "core.default_task_retry_delay": Row(value="7", observe=of_its_task("retry_delay"), default=300.0, changed=7.0),
    "core.default_task_execution_timeout": Row(
        value="9", observe=of_its_task("execution_timeout"), default=None, changed=9.0
    ),
    "core.default_task_weight_rule": Row(
        value="upstream", observe=weights, default={"a": 2, "b": 1}, changed={"a": 1, "b": 2}
    ),
    "core.killed_task_cleanup_time": Row(
        value="7", observe=of_the_supervisor("grace_seconds"), default=60.0, changed=7.0
    ),
    "core.dagbag_import_timeout": Row(
        value="7",
        observe=lambda here: (processor_work(here).parser.seconds, of_its_children("load_seconds")(here)),
        default=(30.0, 30.0),
        changed=(7.0, 7.0),
    ),
    "core.max_map_length": Row(value="2", observe=outcome_of(MAPPED), default="success", changed="failed"),
    "core.max_templated_field_length": Row(value="20", observe=rendered_field, default=True, changed=False),
    "core.max_xcom_bytes": Row(value="50", observe=outcome_of(LONG), default="success", changed="failed"),
    "core.test_connection": Row(
        value="Enabled", observe=connection_tested, default=1, changed=0
    ),
    "core.task_memory_limit": Row(
        value="512", observe=of_the_supervisor("memory_limit_bytes"), default=None, changed=512 * 2**20
    ),
    "core.task_environment": Row(
        value="SHOP",
        observe=lambda here: of_its_children("environment")(here).get("SHOP"),
        default=None,
        changed="Berlin",
    ),
    "core.execute_tasks_new_python_interpreter": Row(
        value="true", observe=of_its_children("reload_every_try"), default=False, changed=True
    ),
    "core.fernet_key": Row(value=KEY, observe=stored_with, default=False, changed=True),
    "core.sensitive_var_conn_names": Row(
        value="shop", observe=shown_variable, default=("Berlin",) * 3, changed=("***",) * 3
    ),
    "database.sql_alchemy_conn": Row(
        value="sqlite:///{home}/other.db",
        observe=lambda here: Path(make_url(here.app.store.url).database or "").name,
        default="nbflow.db",
        changed="other.db",
    ),
    "database.synchronous": Row(value="FULL", observe=lambda here: here.pragma("synchronous"), default=1, changed=2),
    "database.busy_timeout_seconds": Row(
        value="7", observe=lambda here: here.pragma("busy_timeout"), default=30_000, changed=7_000
    ),
    "scheduler.catchup_by_default": Row(
        value="true",
        observe=of_the_spec("catchup", "with DAG('d', schedule='@daily', start_date=datetime(2024, 1, 1)): ..."),
        default=False,
        changed=True,
    ),
    "scheduler.create_cron_data_intervals": Row(
        value="false",
        observe=lambda here: of_the_spec("schedule")(here)["kind"],
        default="cron_interval",
        changed="cron_trigger",
    ),
    "scheduler.scheduler_heartbeat_sec": Row(
        value="7", observe=heartbeat, default=timedelta(seconds=5), changed=timedelta(seconds=7)
    ),
    "scheduler.scheduler_health_check_threshold": Row(
        value="10", observe=heard_of_twenty_seconds_ago, default=0, changed=1
    ),
    "scheduler.task_instance_heartbeat_sec": Row(
        value="7", observe=of_the_supervisor("heartbeat_seconds"), default=5.0, changed=7.0
    ),
    "scheduler.task_instance_heartbeat_timeout": Row(
        value="7", observe=of_the_supervisor("lease_seconds"), default=60.0, changed=7.0
    ),
    "scheduler.idle_minutes": Row(value="0.5", observe=idle_exit, default="10", changed="0.5"),
    "scheduler.use_job_schedule": Row(value="false", observe=scheduled_runs, default=1, changed=0),
    "scheduler.allow_trigger_in_future": Row(value="true", observe=triggered_for_later, default=1, changed=0),
    "dag_processor.parsing_processes": Row(value="3", observe=parsed_at_once, default=2, changed=3),
    "dag_processor.refresh_interval": Row(value="7", observe=until_the_next_look, default=60.0, changed=7.0),
    "logging.base_log_folder": Row(
        value="{home}/other",
        observe=lambda here: here.app.logs.path(RunKey("d", "r"), TaskKey("t"), 1).relative_to(here.home).parts[0],
        default="logs",
        changed="other",
    ),
    "logging.logging_level": Row(value="WARNING", observe=first_lines, default=True, changed=False),
    "logging.max_log_bytes_per_try": Row(value="1024", observe=kept_of_a_log, default=True, changed=False),
    "operators.default_owner": Row(value="ada", observe=of_the_spec("owners"), default=("airflow",), changed=("ada",)),
    "operators.default_queue": Row(value="fast", observe=of_its_task("queue"), default="default", changed="fast"),
    "notebook.output_folder": Row(
        value="{home}/other",
        observe=executed_notebook,
        default=Path("notebooks/d/r/t-try1.ipynb"),
        changed=Path("other/d/r/t-try1.ipynb"),
    ),
    "notebook.kernel_name": Row(value="chosen", observe=kernel_asked_for, default="its-own", changed="chosen"),
    "notebook.save_output": Row(
        value="false", observe=output_of_a_cell, default={"text/html", "text/plain"}, changed={"text/plain"}
    ),
    "sim.seed": Row(value="42", observe=drawn_from, default=[False, False], changed=[True, True]),
}  # fmt: skip


def test_every_option_has_a_row():
    assert set(OPTIONS) == {f"{section}.{spec.name}" for section, kind in SECTIONS.items() for spec in fields(kind)}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_what_nbflow_does(place: Places, name: str):
    row = OPTIONS[name]
    # When the same is looked at in a home with the defaults, and in one where the option is set
    with place() as here:
        by_default = row.observe(here)
    with place(name, row.value) as here:
        changed = row.observe(here)
    # Then each shows what it should, and they differ
    assert (by_default, changed) == (row.default, row.changed)
    assert row.default != row.changed
