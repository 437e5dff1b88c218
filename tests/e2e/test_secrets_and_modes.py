"""Planted secrets are nowhere to be read, and what lies in the home is its owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

from nbflow.connections import Connection
from tests.e2e.conftest import House

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


def planted_in(house: House) -> None:
    now = house.app.clock.now()
    extra = {"token": IN_URL}
    connection = Connection(conn_id="db", conn_type="postgres", login="ada", password=IN_CONNECTION, extra=extra)
    house.store.set_connection(connection, actor="ada", now=now)
    house.store.set_variable("api_key", IN_VARIABLE, actor="ada", now=now)


def files_of(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]


def test_secrets_are_in_no_file(make_house):
    # Given secrets in the scheduler's environment, a connection and a variable, and tasks that show them off
    house = make_house()
    house.environ["WAREHOUSE_PASSWORD"] = IN_ENVIRONMENT
    planted_in(house)
    house.write("d.py", USES_THEM)
    house.start()
    command_lines: set[bytes] = set()
    run = house.trigger("d")

    # When they have run
    def ended() -> bool:
        for pid in house.processes():
            try:
                command_lines.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            except OSError:
                continue
        return house.store.run(run).state.value in ("success", "failed")

    house.until(ended)
    states = house.end_of(run)
    house.stop()

    # Then no file of the home (database, its journal, logs, rendered fields) and no command line holds them
    assert states == {"shows": "success", "raises": "failed", "slices": "success", "rendered": "success"}
    told = house.task_log(run, "shows")
    assert "password ***" in told
    assert "cannot log in with ***" in house.error(run, "raises")
    assert house.store.rendered(run, next(i.key for i in house.store.instances(run) if i.task_id == "rendered"))
    found = [
        (str(path.relative_to(house.home)), secret)
        for path in [*files_of(house.home), house.log_path]
        for secret in PLANTED
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
    assert command_lines
    assert [line for line in command_lines for secret in PLANTED if secret.encode() in line] == []


def test_only_the_owner_can_read_the_home(house):
    planted_in(house)
    house.write(
        "d.py",
        USES_THEM + "\n    @task(on_failure_callback=lambda context: None)\n    def dies(): os._exit(1)\n    dies()\n",
    )
    house.start()
    house.end_of(house.trigger("d"))
    house.until(lambda: list(house.home.rglob("callbacks.log")))
    house.stop()
    dags = Path(house.app.settings.core.dags_folder)

    def mode(path: Path) -> str:
        return oct(stat.S_IMODE(path.stat().st_mode))

    folders = [house.home, *(path for path in house.home.rglob("*") if path.is_dir())]
    open_folders = {str(path): mode(path) for path in folders if stat.S_IMODE(path.stat().st_mode) & 0o077}
    files = [path for path in files_of(house.home) if dags not in path.parents]
    open_files = {str(path.relative_to(house.home)): mode(path) for path in files if path.stat().st_mode & 0o077}
    assert (open_folders, open_files) == ({}, {})
