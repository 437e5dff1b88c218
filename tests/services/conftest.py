"""A home for each test, a scheduler that the test drives loop by loop, and waits for events with a time limit."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from nbflow.config import Settings
from nbflow.core.snapshot import RunKey, TaskKey
from tests.gates import Gate

TIMEOUT_SECONDS = 30.0
"""A test that waits longer for an event fails. Generous, because the machine may be busy."""


class Stage:
    """An open home with its DAGs folder, and a scheduler to drive."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.home = home
        base = {"PATH": "/usr/bin:/bin", "HOME": str(home), "NBFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false"}
        self.environ = {**base, **environ}
        self.app = App.open(home=home, environ=self.environ, migrate=False)
        self.app.store.migrate()
        self.store, self.ops = self.app.store, self.app.operations("user:ada")
        self.folder = Path(self.app.settings.core.dags_folder)
        self.processor: Any = None
        self.scheduler: Any = None
        self.gates: list[Gate] = []

    def write(self, name: str, source: str) -> Path:
        """Save a DAG file atomically, as an editor does."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(textwrap.dedent(source))
        temporary.replace(path)
        return path

    def close_gate(self, name: str) -> Gate:
        """A gate in the DAGs folder, closed until the test opens it or ends."""
        self.gates.append(Gate(self.folder / name))
        return self.gates[-1]

    def process(self) -> None:
        """Parse the files that are in the folder now."""
        if self.processor is None:
            self.processor = self.app.processor()
            self.processor.start()
        assert self.processor.sync(TIMEOUT_SECONDS)

    def schedule(self, **options: Any) -> Any:
        if self.scheduler is None:
            self.scheduler = self.app.scheduler(**options)
            self.scheduler.start()
        return self.scheduler

    def loop_until(self, condition: Callable[[], Any]) -> Any:
        """Run scheduler loops until the condition is true, sleeping between them as the scheduler does; returns its
        value."""
        scheduler = self.schedule()
        limit = time.monotonic() + TIMEOUT_SECONDS
        while not (value := condition()):
            assert time.monotonic() < limit, "the condition did not become true in time"
            result = scheduler.step()
            if not result.busy and not condition():
                scheduler._sleep(result.wake_at)
        return value

    def run_to_end(self, run: RunKey) -> dict[str, str]:
        """Run scheduler loops until the run has ended; returns the states by instance."""
        self.loop_until(lambda: self.store.run(run).state.value in ("success", "failed"))
        return self.states(run)

    def states(self, run: RunKey) -> dict[str, str]:
        return {str(ti.key): ti.state.value for ti in self.store.instances(run)}

    def causes(self, run: RunKey, task_id: str, map_index: int = -1) -> list[str]:
        return [event.cause for event in self.store.events(run=run, key=TaskKey(task_id, map_index))]

    def log(self, run: RunKey, task_id: str, try_number: int = 1) -> str:
        return self.app.logs.path(run, TaskKey(task_id), try_number).read_text()

    def close(self) -> None:
        for gate in self.gates:
            gate.open()
        if self.scheduler is not None:
            self.scheduler.close()
        if self.processor is not None:
            self.processor.stop()
        self.app.close()


@pytest.fixture
def make_stage(tmp_path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(**environ: str) -> Stage:
        settings = {f"NBFLOW__{name}": value for name, value in environ.items()}
        stages.append(Stage(tmp_path / f"home{len(stages)}", settings))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage) -> Stage:
    return make_stage()


@pytest.fixture
def memory_app(tmp_path) -> Iterator[App]:
    from nbflow.store import open_store

    with App(settings=Settings.load({}, tmp_path), store=open_store("memory://"), environ={}) as app:
        yield app
