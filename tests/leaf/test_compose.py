"""docker-compose.yaml: its structure is checked, and Compose itself parses it if it is installed.

The file is parsed as YAML, and variables are interpolated like in Compose; no test matches the file's text.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from nbflow.config import Settings
from tests.servers import require

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yaml"
SERVICE_KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports", "restart", "security_opt",
    "stop_grace_period", "volumes",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
HEALTHY = {"condition": "service_healthy"}
GIVEN = {"POSTGRES_PASSWORD": "x" * 32, "JUPYTER_TOKEN": "y" * 32}
#: Values that must not be in the file, and must have no default.
_SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")
_VARIABLE = re.compile(r"\$(?:\{(?P<name>\w+)(?P<kind>:[-?])(?P<text>[^}]*)\}|(?P<odd>.))")


def interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    """``value`` with its variables interpolated, as by Compose. Fails for a required variable that is not set, and for
    forms that the file does not use (``$NAME``, ``$$``)."""
    if isinstance(value, dict):
        return {key: interpolated(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, environ) for item in value]

    def replaced(match: re.Match[str]) -> str:
        assert match["odd"] is None, f"{value!r}: only ${{NAME:-default}} and ${{NAME:?message}} are supported"
        if match["name"] in environ:
            return environ[match["name"]]
        if match["kind"] == ":?":
            raise KeyError(match["text"])
        return match["text"]

    return _VARIABLE.sub(replaced, value) if isinstance(value, str) else value


def seconds(duration: str) -> int:
    """``90s``, ``2m``."""
    amount, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return int(amount) * {"s": 1, "m": 60}[unit]


@pytest.fixture
def written() -> dict[str, Any]:
    """The parsed file, with variables not interpolated."""
    return yaml.safe_load(COMPOSE.read_text("utf-8"))


@pytest.fixture
def services(written: dict[str, Any]) -> dict[str, Any]:
    """Its services, with the variables that a user must set interpolated."""
    return interpolated(written["services"], GIVEN)


@pytest.fixture
def compose_config(tmp_path: Path) -> Any:
    """``config(environ)``: the output of ``compose config``."""
    commands = (["docker", "compose"], ["docker-compose"])
    installed = [command for command in commands if shutil.which(command[0])]
    working = [
        command for command in installed if subprocess.run([*command, "version"], capture_output=True).returncode == 0
    ]
    if not working:
        require("Compose", "neither docker compose nor docker-compose (Debian: apt-get install docker-compose)")

    def config(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ}
        return subprocess.run(
            [*working[0], "-f", str(COMPOSE), "config"], capture_output=True, text=True, env=known, cwd=tmp_path
        )

    return config


def test_the_services_exist_and_use_known_keys_only(written, services):
    assert set(written) == {"services", "volumes", "x-nbflow", "x-environment"}
    assert set(services) == {"postgres", "scheduler", "jupyterlab"}
    unknown = {name: set(service) - SERVICE_KEYS for name, service in services.items()}
    assert {name: keys for name, keys in unknown.items() if keys} == {}


def test_every_service_has_a_health_check_that_ends_before_the_next(services):
    for name, service in services.items():
        check = service["healthcheck"]
        assert set(check) <= HEALTH_KEYS, name
        assert check["test"][0] == "CMD", name
        assert all(isinstance(word, str) for word in check["test"]), name
        assert 0 < seconds(check["timeout"]) <= seconds(check["interval"]) <= 15, name
        assert check["retries"] >= 3, name


def test_services_wait_for_the_health_of_their_dependencies(services):
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert needs == {
        "postgres": {},
        "scheduler": {"postgres": HEALTHY},
        "jupyterlab": {"postgres": HEALTHY, "scheduler": HEALTHY},
    }


def test_ports_are_published_on_loopback_alone(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    parts = {name: [port.rsplit(":", 2) for port in ports] for name, ports in published.items()}
    assert {name: [(outer, inner) for _, outer, inner in ports] for name, ports in parts.items()} == {
        "postgres": [("5433", "5432")],
        "jupyterlab": [("8888", "8888")],
    }
    addresses = [ipaddress.ip_address(address) for ports in parts.values() for address, _, _ in ports]
    assert [address for address in addresses if not address.is_loopback] == []


def test_volumes_are_declared_and_used_and_hold_the_home(written, services):
    mounts = {name: dict(mount.split(":") for mount in service["volumes"]) for name, service in services.items()}
    assert {volume for service in mounts.values() for volume in service} == set(written["volumes"])
    homes = {name: service["environment"].get("NBFLOW_HOME") for name, service in services.items()}
    assert {name: home for name, home in homes.items() if home} == {
        "scheduler": mounts["scheduler"]["nbflow-home"],
        "jupyterlab": mounts["jupyterlab"]["nbflow-home"],
    }


def test_secrets_come_from_the_environment_and_have_no_default(written):
    secrets = {
        name: value
        for service in written["services"].values()
        for name, value in service["environment"].items()
        if _SECRET_NAME.search(name)
    }
    assert set(secrets) == {"POSTGRES_PASSWORD", "PGPASSWORD", "JUPYTER_TOKEN"}
    for value in secrets.values():
        with pytest.raises(KeyError, match=r"set (POSTGRES_PASSWORD|JUPYTER_TOKEN), for example"):
            interpolated(value, {})
        assert interpolated(value, GIVEN) in GIVEN.values()
    assert interpolated(secrets["PGPASSWORD"], GIVEN) == interpolated(secrets["POSTGRES_PASSWORD"], GIVEN)


@pytest.mark.parametrize("name", ["scheduler", "jupyterlab"])
def test_the_settings_are_valid_and_name_the_services(services, name):
    # Given the environment of a service
    environ = services[name]["environment"]
    settings = Settings.load(environ)  # which refuses unknown settings
    address, postgres = make_url(settings.database.sql_alchemy_conn), services["postgres"]["environment"]
    # Then its metastore is the database of the service that it waits for, by that service's name
    assert (address.host, address.port) == ("postgres", 5432)
    assert address.host in services[name]["depends_on"]
    assert (address.username, address.database) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    # And the URL has no password
    assert address.password is None
    # And a scheduler that gets SIGTERM has time to end its tasks
    if "stop_grace_period" in services[name]:
        assert seconds(services[name]["stop_grace_period"]) > settings.core.killed_task_cleanup_time


def test_the_health_check_of_postgres_uses_the_metastores_database(services):
    postgres = services["postgres"]
    user, database = postgres["environment"]["POSTGRES_USER"], postgres["environment"]["POSTGRES_DB"]
    assert postgres["healthcheck"]["test"] == ["CMD", "pg_isready", "-U", user, "-d", database]


def test_services_run_commands_of_nbflow_and_jupyter(services):
    from nbflow.cli.main import GROUPS

    assert services["scheduler"]["command"] == ["sh", "-c", "nbflow db migrate && exec nbflow scheduler"]
    assert services["scheduler"]["healthcheck"]["test"] == ["CMD", "nbflow", "status"]
    assert {"db", "scheduler", "status"} <= set(GROUPS)
    assert services["jupyterlab"]["command"][:2] == ["jupyter", "lab"]


def test_the_image_is_built_from_an_existing_dockerfile(services):
    builds = {name: service["build"] for name, service in services.items() if "build" in service}
    assert set(builds) == {"scheduler", "jupyterlab"}
    assert {(ROOT / build["context"] / build["dockerfile"]).is_file() for build in builds.values()} == {True}


def test_compose_parses_the_file(compose_config, services):
    # When Compose parses it with the required variables
    process = compose_config(GIVEN)
    # Then it has the same services, with the same environment
    assert process.returncode == 0, process.stderr
    read = yaml.safe_load(process.stdout)
    assert {name: service["environment"] for name, service in read["services"].items()} == {
        name: service["environment"] for name, service in services.items()
    }
    assert set(read["volumes"]) == {"nbflow-home", "postgres-data"}


@pytest.mark.parametrize("missing", GIVEN)
def test_compose_refuses_it_without_a_secret(compose_config, missing):
    process = compose_config({name: value for name, value in GIVEN.items() if name != missing})
    assert (process.returncode != 0, f"set {missing}, for example" in process.stderr) == (True, True)
