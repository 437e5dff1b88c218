"""Whole processes, from start to exit: an import, and two commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.floors import start_floor
from bench.harness import ONE, Bench
from bench.results import Figure

NBFLOW = Path(sys.executable).with_name("nbflow")
STARTS: Mapping[str, tuple[Sequence[str], float]] = {
    "from nbflow import DAG, task": ((sys.executable, "-c", "from nbflow import DAG, task"), 0.15),
    "nbflow dags list": ((str(NBFLOW), "dags", "list"), 0.4),
    "nbflow dags test one": ((str(NBFLOW), "dags", "test", "one"), 0.6),
}
FLOOR = "an interpreter that does nothing (python -c pass)"


def measure(bench: Bench) -> list[Figure]:
    seconds: dict[str, list[float]] = {what: [] for what in STARTS}
    floor = []
    with bench.home(one=ONE) as home:
        with home.engine():
            pass  # its DAG file is parsed and stored
        for run in range(bench.runs + 1):
            for what, (command, _) in STARTS.items():
                elapsed = _start(command, home.environ)
                if run:  # run 0 writes bytecode
                    seconds[what].append(elapsed)
            floor.append(start_floor())
    return [
        Figure(
            row="process_starts",
            what=what,
            unit="s",
            samples=tuple(seconds[what]),
            target=target,
            floor=tuple(floor),
            floor_is=FLOOR,
        )
        for what, (_, target) in STARTS.items()
    ]


def _start(command: Sequence[str], environ: Mapping[str, str]) -> float:
    started = time.perf_counter()
    process = subprocess.run(command, env=dict(environ), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    elapsed = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{command} exited with {process.returncode}: {process.stderr}")
    return elapsed
