"""docker-compose.yaml: read by Compose where there is one, and held to our own rules everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yaml"
SERVICE_KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports", "restart", "security_opt",
    "stop_grace_period", "volumes",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
_VARIABLE = re.compile(r"\$\{(\w+)(:[-?])([^}]*)\}")


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def test_the_services_are_there_and_use_known_keys_only(compose):
    assert set(compose) == {"services", "volumes", "x-nbflow", "x-environment"}
    assert set(compose["services"]) == {"postgres", "scheduler", "jupyterlab"}
    unknown = {name: set(service) - SERVICE_KEYS for name, service in compose["services"].items()}
    assert {name: keys for name, keys in unknown.items() if keys} == {}


def test_every_service_has_a_health_check(compose):
    for name, service in compose["services"].items():
        check = service["healthcheck"]
        assert set(check) <= HEALTH_KEYS, name
        assert check["test"][0] == "CMD", name
        assert all(isinstance(word, str) for word in check["test"]), name
        assert {check[key] for key in ("interval", "timeout")} <= {"5s", "10s", "15s"}, name


def test_services_wait_for_the_health_of_what_they_need(compose):
    needs = {name: service.get("depends_on", {}) for name, service in compose["services"].items()}
    healthy = {"condition": "service_healthy"}
    assert needs == {
        "postgres": {},
        "scheduler": {"postgres": healthy},
        "jupyterlab": {"postgres": healthy, "scheduler": healthy},
    }


def test_ports_are_published_on_loopback_alone(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_volumes_are_declared(compose):
    used = {volume.partition(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    assert used == set(compose["volumes"])


def test_secrets_have_no_default_and_say_what_to_set():
    secrets = {name: (kind, text) for name, kind, text in _VARIABLE.findall(COMPOSE.read_text()) if "PORT" not in name}
    assert set(secrets) == {"POSTGRES_PASSWORD", "JUPYTER_TOKEN"}
    for name, (kind, text) in secrets.items():
        assert kind == ":?"
        assert text.startswith(f"set {name}")


def test_every_dollar_is_a_variable_that_compose_understands():
    text = "\n".join(line for line in COMPOSE.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert text.count("$") == len(_VARIABLE.findall(text))


def test_the_image_is_built_from_files_that_are_there(compose):
    build = compose["services"]["scheduler"]["build"]
    dockerfile = (ROOT / build["context"] / build["dockerfile"]).read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", dockerfile, re.M) for word in line.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(copied) == kept


def _compose_command() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


@pytest.mark.skipif(_compose_command() is None, reason="no Compose here; the tests above read the file themselves")
def test_compose_reads_the_file_and_refuses_it_without_a_password(tmp_path):
    command = [*(_compose_command() or []), "-f", str(COMPOSE), "config"]
    environ = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)}
    without = subprocess.run(command, capture_output=True, text=True, env=environ)
    given = {"POSTGRES_PASSWORD": "x" * 32, "JUPYTER_TOKEN": "y" * 32}
    complete = subprocess.run(command, capture_output=True, text=True, env=environ | given)
    assert (without.returncode != 0, "set POSTGRES_PASSWORD" in without.stderr) == (True, True)
    assert complete.returncode == 0, complete.stderr
