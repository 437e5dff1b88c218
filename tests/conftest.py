"""Fixtures for all tests, and the fence around them: no test sees the user's settings or touches the user's home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nbflow.config import Settings, prepare_home
from tests.servers import (  # noqa: F401
    chromium_path,
    dot_path,
    new_postgres_url,
    postgres_server,
    postgres_url,
    private_postgres,
    session_postgres_url,
)

#: Variables that steer the tests themselves.
_TEST_VARIABLES = ("NBFLOW_FACTS", "NBFLOW_SOAK_MINUTES", "NBFLOW_SEED")

# No deadline: with the cores shared, a slow example says nothing. Printed blobs let a failure be run again.
settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile("soak", settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def _fenced_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's nbflow and Airflow settings, and let NBFLOW_HOME lead to a folder of the session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("NBFLOW_", "AIRFLOW_"))]:
            if name not in _TEST_VARIABLES:
                patch.delenv(name)
        patch.setenv("NBFLOW_HOME", str(tmp_path_factory.mktemp("session-home", numbered=True)))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty NBFLOW_HOME of the test's own, which processes that the test starts use too."""
    folder = tmp_path / "nbflow-home"
    monkeypatch.setenv("NBFLOW_HOME", str(folder))
    return folder


@pytest.fixture
def nbflow_settings(home: Path) -> Settings:
    """The default settings of ``home``, with its folders made."""
    loaded = Settings.load({}, home)
    prepare_home(loaded)
    return loaded


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its tables made, to be copied: making them anew for each test takes longer than most tests."""
    from nbflow.app import App

    folder = tmp_path_factory.mktemp("made") / "home"
    App.open(home=folder, environ={}).close()
    return folder
