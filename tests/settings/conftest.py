"""Homes in which one option is set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from nbflow.notebook.session import end_session
from tests.settings.place import Place

Places = Callable[..., AbstractContextManager[Place]]


@pytest.fixture
def place(
    tmp_path: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Places:
    """``with place("core.parallelism", "3") as here``; with nothing: a home with the defaults."""

    @contextmanager
    def opened(option: str = "", value: str = "") -> Iterator[Place]:
        home = tmp_path / (option or "defaults")
        shutil.copytree(new_home, home)
        with monkeypatch.context() as patch:
            patch.setenv("NBFLOW_HOME", str(home))
            patch.setenv("SHOP", "Berlin")
            if option:
                patch.setenv(f"NBFLOW__{option.replace('.', '__').upper()}", value)
            here = Place(home, capsys)
            try:
                yield here
            finally:
                here.close()
                end_session()

    return opened
