"""A home in which one option is set, and what is done there."""

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


class Place:
    """A home, opened as nbflow itself opens it: settings come from its environment, and objects from its App."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys

    @cached_property
    def app(self) -> App:
        return App.open()

    @cached_property
    def still(self) -> App:
        """The same home, at a moment that does not pass."""
        return App.open(clock=VirtualClock(NOW))

    def run(self, *words: str) -> tuple[int, str, str]:
        """A command: its exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = main(words)
        return code, *self._capsys.readouterr()

    def listed(self, *words: str) -> Any:
        """What a command shows, as JSON."""
        return json.loads(self.run(*words, "-o", "json")[1])

    def write(self, name: str, content: str) -> str:
        """Write a file of the home; returns its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        return str(path)

    def spec(self, dag: str) -> DagSpec:
        """The DAG ``d`` of a file that ends in ``dag``, compiled with the App's options as whoever reads files does."""
        loaded = load_source(self.write("d.py", HEAD + dag), options=self.app.compile_options())
        assert loaded.import_errors == ()
        return loaded.specs["d"]

    def registered(self, dag: str) -> DagSpec:
        """The same, as the schedule knows it."""
        spec = self.spec(dag)
        version = DagVersion(dag_id="d", spec=spec, fileloc=str(self.home / "d.py"))
        self.app.store.register(version, now=NOW, paused=False)
        return spec

    def processed(self) -> dict[str, bool]:
        """DAG -> whether it is paused, once the DAG processor has read the folder."""
        processor = self.app.processor()
        processor.start()
        try:
            assert processor.sync(30)
        finally:
            processor.stop()
        return {row.dag_id: row.paused for row in self.app.store.dags()}

    def pragma(self, name: str) -> int:
        """A setting of the metastore's connections."""
        with self.app.store._reading() as connection:  # type: ignore[attr-defined]
            return int(connection.execute(text(f"PRAGMA {name}")).scalar_one())

    def close(self) -> None:
        for name in {"app", "still"} & self.__dict__.keys():
            getattr(self, name).close()


HEAD = """
from datetime import datetime
from nbflow import DAG, task
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.notebook import NotebookOperator
"""
