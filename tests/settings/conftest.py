"""Homes in which one option is set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from nbflow.notebook.session import end_session
from tests.settings.settings_home import SettingsHome

OpenHome = Callable[..., AbstractContextManager[SettingsHome]]


@pytest.fixture
def open_home(
    tmp_path: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> OpenHome:
    """``with open_home("core.parallelism", "3") as home``; without arguments: a home with the defaults."""

    @contextmanager
    def opened(option: str = "", value: str = "") -> Iterator[SettingsHome]:
        folder = tmp_path / (option or "defaults")
        shutil.copytree(new_home, folder)
        with monkeypatch.context() as patch:
            patch.setenv("NBFLOW_HOME", str(folder))
            patch.setenv("SHOP", "Berlin")
            if option:
                patch.setenv(f"NBFLOW__{option.replace('.', '__').upper()}", value)
            home = SettingsHome(folder, capsys)
            try:
                yield home
            finally:
                home.close()
                end_session()

    return opened
