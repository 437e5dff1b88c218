"""A home with DAG files, and commands that run in this process."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from nbflow.surface_entry_points import main

SALES = """
    from datetime import datetime
    from nbflow import DAG, task

    with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1), tags=["shop"], params={"rate": 2}) as dag:
        @task
        def extract(ds=None):
            print("extracting", ds)
            return [1, 2]

        @task
        def double(number):
            return number * 2

        @task
        def load(numbers):
            print("loaded", sum(numbers))

        load(double.expand(number=extract()))
"""

BROKEN = """
    from nbflow import DAG

    with DAG("broken", schedule="@dayly"):
        pass
"""

FAILING = """
    from nbflow import DAG, task

    with DAG("failing", schedule=None) as dag:
        @task
        def wrong():
            raise ValueError("no such customer")

        @task
        def after():
            pass

        wrong() >> after()
"""


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _plain_output(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def nbflow(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """``nbflow("dags", "list")``: run a command in this process."""

    def run(*words: str) -> CommandResult:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return CommandResult(code=code, out=out, err=err)

    return run


@pytest.fixture
def dag_file(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file outside the DAGs folder."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def in_folder(home: Path) -> Callable[[str, str], str]:
    """Write a file into the DAGs folder."""

    def write(name: str, text: str) -> str:
        path = home / "dags" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def sales(dag_file: Callable[[str, str], str]) -> str:
    """A DAG file without errors."""
    return dag_file("sales.py", SALES)


@pytest.fixture
def app(home: Path) -> Iterator[App]:
    """The app of the test's home, to check the effects of commands."""
    with App.open(environ=os.environ) as app:
        yield app
