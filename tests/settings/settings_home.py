"""A home in which one option is set, and operations on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from nbflow.app import App
from nbflow.cli.main import main
from nbflow.clock import VirtualClock
from nbflow.core.spec import DagSpec
from nbflow.sources.loading import load_source
from nbflow.store.base import DagVersion

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


class SettingsHome:
    """A home that is opened as a command opens it: settings come from the environment, and objects from its App."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys

    @cached_property
    def app(self) -> App:
        return App.open()

    @cached_property
    def frozen_app(self) -> App:
        """An App of the same home with a virtual clock, which stands still."""
        return App.open(clock=VirtualClock(NOW))

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command. Returns its exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = main(words)
        return code, *self._capsys.readouterr()

    def run_json(self, *words: str) -> Any:
        """Run a command with ``-o json``. Returns its output."""
        return json.loads(self.run(*words, "-o", "json")[1])

    def write(self, name: str, content: str) -> str:
        """Write a file of the home. Returns its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        return str(path)

    def spec(self, dag: str) -> DagSpec:
        """The spec of DAG ``d`` in a file that ends with the code ``dag``, compiled with the App's options."""
        loaded = load_source(self.write("d.py", HEAD + dag), options=self.app.compile_options())
        assert loaded.import_errors == ()
        return loaded.specs["d"]

    def registered(self, dag: str) -> DagSpec:
        """Register that DAG in the metastore. Returns its spec."""
        spec = self.spec(dag)
        version = DagVersion(dag_id="d", spec=spec, fileloc=str(self.home / "d.py"))
        self.app.store.register(version, now=NOW, paused=False)
        return spec

    def processed(self) -> dict[str, bool]:
        """Run the DAG processor. Returns DAG id -> whether the DAG is paused."""
        processor = self.app.processor()
        processor.start()
        try:
            assert processor.sync(30)
        finally:
            processor.stop()
        return {row.dag_id: row.paused for row in self.app.store.dags()}

    def pragma(self, name: str) -> int:
        """The value of a pragma of the metastore's connections."""
        with self.app.store._reading() as connection:  # type: ignore[attr-defined]
            return int(connection.execute(text(f"PRAGMA {name}")).scalar_one())

    def close(self) -> None:
        for name in {"app", "frozen_app"} & self.__dict__.keys():
            getattr(self, name).close()


HEAD = """
from datetime import datetime
from nbflow import DAG, task
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.notebook import NotebookOperator
"""
