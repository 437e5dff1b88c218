"""Planted secrets are in no file, and only the owner can read the files of the home."""

from __future__ import annotations

import stat
from pathlib import Path

from nbflow.connections import Connection
from tests.e2e.conftest import Deployment

IN_ENVIRONMENT, IN_CONNECTION, IN_VARIABLE, IN_URL = (
    "env-S3cr3t-0001",
    "conn-S3cr3t-0002",
    "var-S3cr3t-0003",
    "extra-S3cr3t-4",
)
PLANTED = (IN_ENVIRONMENT, IN_CONNECTION, IN_VARIABLE, IN_URL)

USES_THEM = """
from nbflow import Variable
from nbflow.hooks.base import BaseHook
from nbflow.operators.bash import BashOperator

with DAG("d", schedule=None):
    @task
    def shows():
        connection = BaseHook.get_connection("db")
        print("password", connection.password, "extra", connection.extra_dejson)
        print("variable", Variable.get("api_key"))
        print("environment", dict(os.environ))
        sys.stderr.write(connection.get_uri() + "\\n")
    @task
    def raises():
        raise ValueError("cannot log in with " + BaseHook.get_connection("db").password)
    @task
    def slices():
        text = Variable.get("api_key")
        for letter in text: sys.stdout.write(letter)
        print()
    secrets = {"KEY": "{{ var.value.api_key }}", "PASSWORD": "{{ conn.db.password }}"}
    rendered = BashOperator(task_id="rendered", bash_command='test -n "$KEY"', env=secrets)
    shows(); raises(); slices(); rendered
"""


def planted_in(deployment: Deployment) -> None:
    now = deployment.app.clock.now()
    extra = {"token": IN_URL}
    connection = Connection(conn_id="db", conn_type="postgres", login="ada", password=IN_CONNECTION, extra=extra)
    deployment.store.set_connection(connection, actor="ada", now=now)
    deployment.store.set_variable("api_key", IN_VARIABLE, actor="ada", now=now)


def files_of(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]


def test_secrets_are_in_no_file(make_deployment):
    # Given secrets in the scheduler's environment, a connection and a variable, and tasks that print them
    deployment = make_deployment()
    deployment.environ["WAREHOUSE_PASSWORD"] = IN_ENVIRONMENT
    planted_in(deployment)
    deployment.write("d.py", USES_THEM)
    deployment.start()
    command_lines: set[bytes] = set()
    run = deployment.trigger("d")

    # When the tasks have run
    def ended() -> bool:
        for pid in deployment.processes():
            try:
                command_lines.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            except OSError:
                continue
        return deployment.store.run(run).state.value in ("success", "failed")

    deployment.until(ended)
    states = deployment.end_of(run)
    deployment.stop()

    # Then no file of the home (database, its journal, logs, rendered fields) and no command line holds them
    assert states == {"shows": "success", "raises": "failed", "slices": "success", "rendered": "success"}
    log = deployment.task_log(run, "shows")
    assert "password ***" in log
    assert "cannot log in with ***" in deployment.error(run, "raises")
    assert deployment.store.rendered(
        run, next(i.key for i in deployment.store.instances(run) if i.task_id == "rendered")
    )
    leaks = [
        (str(path.relative_to(deployment.home)), secret)
        for path in [*files_of(deployment.home), deployment.log_path]
        for secret in PLANTED
        if secret.encode() in path.read_bytes()
    ]
    assert leaks == []
    assert command_lines
    assert [line for line in command_lines for secret in PLANTED if secret.encode() in line] == []


def test_only_the_owner_can_read_the_home(deployment):
    planted_in(deployment)
    deployment.write(
        "d.py",
        USES_THEM + "\n    @task(on_failure_callback=lambda context: None)\n    def dies(): os._exit(1)\n    dies()\n",
    )
    deployment.start()
    deployment.end_of(deployment.trigger("d"))
    deployment.until(lambda: list(deployment.home.rglob("callbacks.log")))
    deployment.stop()
    dags = Path(deployment.app.settings.core.dags_folder)

    def mode(path: Path) -> str:
        return oct(stat.S_IMODE(path.stat().st_mode))

    folders = [deployment.home, *(path for path in deployment.home.rglob("*") if path.is_dir())]
    open_folders = {str(path): mode(path) for path in folders if stat.S_IMODE(path.stat().st_mode) & 0o077}
    files = [path for path in files_of(deployment.home) if dags not in path.parents]
    open_files = {str(path.relative_to(deployment.home)): mode(path) for path in files if path.stat().st_mode & 0o077}
    assert (open_folders, open_files) == ({}, {})
