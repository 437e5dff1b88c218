"""The processes of an idle nbflow: time to start, memory and CPU."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.harness import CHAIN, DAYS, ONE, Bench, Home, process_tree
from bench.process_starts import NBFLOW
from bench.results import Figure

READY = "is ready"
SETTLE_SECONDS = 1.0
"""Time for the first scheduler loop after the start."""
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        starts, memory, used, counts = [], [], [], []
        with bench.home(store, one=ONE, days=DAYS, chain=CHAIN.format(tasks=bench.chain)) as home:
            with home.engine():
                pass
            for _ in range(bench.runs):
                with _daemon(home) as (pid, seconds):
                    starts.append(seconds)
                    time.sleep(SETTLE_SECONDS)
                    used.append(_share_of_core(pid, bench.idle_seconds))
                    memory.append(sum(map(_pss, process_tree(pid))) / 2**20)
                    counts.append(len(process_tree(pid)))
        daemons = f"all daemons idle ({max(counts)} processes)"
        figures += [
            Figure(row="idle_processes", what="cold start", store=store, unit="s", samples=tuple(starts), target=1.0),
            Figure(
                row="idle_processes",
                what=f"{daemons}: PSS",
                store=store,
                unit="MiB",
                samples=tuple(memory),
                target=150.0,
            ),
            Figure(
                row="idle_processes",
                what=f"{daemons}: CPU",
                store=store,
                unit="% of a core",
                samples=tuple(used),
                target=1.0,
            ),
        ]
    return figures


@contextlib.contextmanager
def _daemon(home: Home) -> Iterator[tuple[int, float]]:
    """``nbflow scheduler`` as a process. Yields its pid, and the seconds until it was ready."""
    started = time.perf_counter()
    daemon = subprocess.Popen(
        [str(NBFLOW), "scheduler"],
        env=dict(home.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert daemon.stdout is not None
    try:
        lines = []
        for line in daemon.stdout:
            lines.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError(f"the scheduler did not start: {''.join(lines)}")
        yield daemon.pid, time.perf_counter() - started
    finally:
        daemon.send_signal(signal.SIGTERM)
        with daemon.stdout:
            daemon.stdout.read()
        daemon.wait()


def _share_of_core(pid: int, seconds: float) -> float:
    """Percent of a core that the process and its descendants use while idle."""
    before, started = _cpu(pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (_cpu(pid) - before) / (time.perf_counter() - started)


def _cpu(pid: int) -> float:
    """Seconds of CPU used by a process and its descendants, including those that have exited."""
    total = 0.0
    for descendant in process_tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{descendant}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15]) / _TICKS
    return total


def _pss(pid: int) -> int:
    """Proportional set size in bytes: a shared page is divided among the processes that map it."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
