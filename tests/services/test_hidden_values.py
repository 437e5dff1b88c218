"""Values of variables and connections that are masked in logs and errors: the same in a child and in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nbflow.cli.main import main
from nbflow.connections import Connection
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RUN_FINISHED
from nbflow.services.callbacks import run_callbacks
from nbflow.services.dag_processor import _ProcessorLoop
from nbflow.services.dag_test import run_test
from nbflow.sources.loading import load_source
from nbflow.store.base import PendingCallback

VARIABLES = {
    "region": "eu-west-1",
    "api_token": "tok-12345",
    "password_needed": "true",
    "token_of_a_service": '{"user": "ada-lovelace", "pin": 987654}',
    "settings": '{"password": "hunter22", "host": "db.example"}',
    "several": '[{"token": "abcdef-1"}, "in the open"]',
    "iban_of_the_shop": "DE89370400440532013000",
    "odd": "{no JSON, and no secret}",
}
"""With the setting [core] sensitive_var_conn_names = iban."""
EXTRA = {"api_key": "kkk-11111", "region": "northern", "iban": "FR7630006000011234567890189"}

#: A text that a task prints -> its masked form.
SHOWN = {
    "eu-west-1": "eu-west-1",
    "tok-12345": "***",
    "true": "true",
    "ada-lovelace": "***",
    "987654": "***",
    "hunter22": "***",
    "db.example": "db.example",
    "abcdef-1": "***",
    "in the open": "in the open",
    "DE89370400440532013000": "***",
    "{no JSON, and no secret}": "{no JSON, and no secret}",
    "correct-horse": "***",
    "reader": "reader",
    "kkk-11111": "***",
    "northern": "northern",
    "FR7630006000011234567890189": "***",
}
SOURCE = """
from nbflow import DAG, Variable, task
from nbflow.hooks.base import BaseHook

with DAG("shop"):
    @task(retries=0)
    def print_all(rendered):
        for key in KEYS:
            Variable.get(key)
        BaseHook.get_connection("db")
        text = "\\n".join(TEXTS)
        print(text)
        raise ValueError(text)

    print_all("{{ conn.db.password }} {{ var.value.api_token }}")
""".replace("KEYS", repr([*VARIABLES])).replace("TEXTS", repr([*SHOWN]))


@pytest.fixture
def shop(make_stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A home with these variables and this connection, and a DAG that prints their values."""
    monkeypatch.setenv("NBFLOW__CORE__SENSITIVE_VAR_CONN_NAMES", "iban")
    stage = make_stage(CORE__SENSITIVE_VAR_CONN_NAMES="iban")
    now = stage.app.clock.now()
    for key, value in VARIABLES.items():
        stage.store.set_variable(key, value, actor="ada", now=now)
    connection = Connection(conn_id="db", conn_type="postgres", login="reader", password="correct-horse", extra=EXTRA)
    stage.store.set_connection(connection, actor="ada", now=now)
    stage.write("shop.py", SOURCE)
    return stage


def _in_a_child(shop: Any) -> RunKey:
    shop.process()
    run = shop.ops.trigger("shop").key
    shop.loop_until(lambda: shop.store.run(run).state in RUN_FINISHED)
    return run


def _in_this_process(shop: Any) -> RunKey:
    [dag] = load_source(shop.folder / "shop.py").dags
    return run_test(dag, app=shop.app).key


@pytest.mark.parametrize("run", [_in_a_child, _in_this_process])
def test_the_error_of_a_task_hides_the_same_in_every_process(shop: Any, run: Callable[[Any], RunKey]) -> None:
    # When a task fails with an error that contains all values that it has read
    key = run(shop)
    # Then the stored error masks the secrets, and nothing else
    [attempt] = shop.store.attempts(key, TaskKey("print_all"))
    assert attempt.error == f"ValueError: {' '.join(SHOWN.values())}"
    # And so do its rendered arguments
    assert shop.store.rendered(key, TaskKey("print_all")) == {"op_args": ["*** ***"]}


def test_the_log_of_a_task_hides_the_same(shop: Any) -> None:
    # When the task has run in a child process
    key = _in_a_child(shop)
    # Then its log shows what it printed, without the secrets
    log = shop.app.logs.path(key, TaskKey("print_all"), 1).read_text()
    printed = log.partition(next(iter(SHOWN.values())))[2].partition("Task failed")[0]
    assert [line.rpartition("] ")[2] for line in printed.splitlines()[1 : len(SHOWN)]] == [*SHOWN.values()][1:]


def test_rendered_templates_hide_the_same(
    shop: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # When the templates of a task are rendered by a command
    monkeypatch.setenv("NBFLOW_HOME", str(shop.home))
    assert main(["tasks", "render", "shop", "print_all", "2024-01-05", "-S", str(shop.folder / "shop.py")]) == 0
    # Then they show no secret
    output = capsys.readouterr().out
    assert "*** ***" in output
    assert [secret for secret in ("correct-horse", "tok-12345") if secret in output] == []


READS_AT_LOAD = """
from nbflow import DAG, Variable, task
from nbflow.operators.bash import BashOperator

TOKEN = Variable.get("api_token")

def call(context):
    print("printed by a callback:", TOKEN)
    raise ValueError("raised by a callback: " + TOKEN)

with DAG("shop", on_failure_callback=call):
    @task(retries=0)
    def show(rendered):
        raise ValueError("x" * 980 + TOKEN)

    show(TOKEN + "{{ ds[:0] }}")
"""


@pytest.mark.parametrize("run", [_in_a_child, _in_this_process])
def test_a_secret_that_the_dag_file_read_is_hidden(shop: Any, run: Callable[[Any], RunKey]) -> None:
    # Given a DAG file that reads a secret while it is loaded
    shop.write("shop.py", READS_AT_LOAD)
    # When its task fails with an error that is cut off within the secret
    with shop.app.providing_secrets():
        key = run(shop)
    # Then no part of it is in the error, the rendered arguments, or any log
    [attempt] = shop.store.attempts(key, TaskKey("show"))
    assert attempt.error == f"ValueError: {'x' * 980}***"
    assert shop.store.rendered(key, TaskKey("show")) == {"op_args": ["***"]}
    assert [path for path in shop.app.logs.root.rglob("*.log") if "tok-" in path.read_text()] == []


def test_a_callback_in_a_process_of_its_own_hides_what_its_file_read(shop: Any) -> None:
    # Given the callback of a run, in a process that may read variables
    shop.write("shop.py", READS_AT_LOAD)
    shop.process()
    run, now = shop.ops.trigger("shop").key, shop.app.clock.now()
    callback = PendingCallback(callback_id=1, run=run, key=None, kind="failure", version=1, at=now)
    payload = _ProcessorLoop(shop.app.processor(), shop.store).callbacks._payload(callback)
    # When it prints and raises what its file has read
    with shop.app.providing_secrets():
        result = run_callbacks(json.loads(json.dumps(payload)))
    # Then what goes into its log shows none of it
    assert result["output"] == "printed by a callback: ***\n"
    assert "raised by a callback: ***" in result["errors"][0]
    assert "tok-" not in str(result)


def test_an_import_error_hides_what_its_file_read(shop: Any) -> None:
    # Given a file that fails with a secret in its message, where it is cut off, and prints it
    failing = READS_AT_LOAD.partition("def call")[0] + "print(TOKEN)\nraise ValueError('x' * 480 + TOKEN)\n"
    shop.write("shop.py", failing)
    # When it is parsed
    shop.process()
    # Then neither the message nor the traceback shows it
    [error] = shop.store.import_errors()
    assert error.error == f"ValueError: {'x' * 480}***"
    assert "tok-" not in error.detail
    # And so it is for a command that loads the file itself
    with shop.app.providing_secrets():
        loaded = load_source(shop.folder / "shop.py")
    assert (loaded.import_errors[0].message, loaded.output) == (error.error, "***\n")
