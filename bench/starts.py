"""Whole processes, from their start to their end: an import, and two commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Figure
from bench.floors import start_floor
from bench.world import ONE, Bench

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
            pass  # its DAG file is parsed, and stands in the metastore
        for run in range(bench.runs + 1):
            for what, (words, _) in STARTS.items():
                taken = _start(words, home.environ)
                if run:  # the first one writes bytecode
                    seconds[what].append(taken)
            floor.append(start_floor())
    return [
        Figure(
            row="starts",
            what=what,
            unit="s",
            samples=tuple(seconds[what]),
            target=target,
            floor=tuple(floor),
            floor_is=FLOOR,
        )
        for what, (_, target) in STARTS.items()
    ]


def _start(words: Sequence[str], environ: Mapping[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(words, env=dict(environ), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr}")
    return taken
