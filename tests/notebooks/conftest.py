"""Notebooks executed by nbclient, with a real kernel and a separate NBFLOW_HOME."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Executed:
    """An executed notebook."""

    notebook: Any
    home: Path

    def text(self, source: str) -> str:
        """The text output of the cell that contains ``source``."""
        cell = next(cell for cell in self.notebook.cells if cell.cell_type == "code" and source in cell.source)
        return "\n".join(filter(None, map(_text, cell.outputs)))

    def last(self) -> str:
        """The text output of the last cell with an output."""
        outputs = [cell.outputs for cell in self.notebook.cells if cell.get("outputs")]
        return "\n".join(map(_text, outputs[-1]))

    def errors(self) -> list[str]:
        return [
            f"{output.ename}: {output.evalue}"
            for cell in self.notebook.cells
            for output in cell.get("outputs", ())
            if output.output_type == "error"
        ]


def _text(output: Any) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


@pytest.fixture
def execute(home: Path, tmp_path: Path) -> Iterator[Callable[..., Executed]]:
    """Execute a copy of a notebook of the project. The scheduler that it started is stopped at the end of the test."""
    import nbclient
    import nbformat

    def run(path: str, *, change: Callable[[Any], None] = lambda notebook: None, seconds: int = 120) -> Executed:
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        copy = Path(shutil.copy(ROOT / path, folder))
        notebook = nbformat.read(copy, as_version=4)
        change(notebook)
        resources = {"metadata": {"path": str(folder)}}
        client = nbclient.NotebookClient(notebook, timeout=seconds, kernel_name="python3", resources=resources)
        client.execute(env={**os.environ, "NBFLOW_HOME": str(home), "PYTHONPATH": str(ROOT)})
        return Executed(notebook, home)

    yield run
    with contextlib.suppress(FileNotFoundError):
        _stop(home)


def _stop(home: Path) -> None:
    from nbflow.app import App
    from nbflow.services import schedulers

    if (home / "nbflow.db").exists():
        with App.open(home=home) as app:
            schedulers.stop(app)
