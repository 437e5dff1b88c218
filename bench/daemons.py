"""The processes of an idle nbflow: how soon they are there, what they hold, and what they use."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure
from bench.starts import NBFLOW
from bench.world import CHAIN, DAYS, ONE, Bench, Home, tree

READY = "is ready"
SETTLE_SECONDS = 1.0
"""After its start a scheduler still has a first turn to do."""
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
                    memory.append(sum(map(_pss, tree(pid))) / 2**20)
                    counts.append(len(tree(pid)))
        all_of_them = f"all daemons idle ({max(counts)} processes)"
        figures += [
            Figure(row="daemons", what="cold start", store=store, unit="s", samples=tuple(starts), target=1.0),
            Figure(
                row="daemons", what=f"{all_of_them}: PSS", store=store, unit="MiB", samples=tuple(memory), target=150.0
            ),
            Figure(
                row="daemons",
                what=f"{all_of_them}: CPU",
                store=store,
                unit="% of a core",
                samples=tuple(used),
                target=1.0,
            ),
        ]
    return figures


@contextlib.contextmanager
def _daemon(home: Home) -> Iterator[tuple[int, float]]:
    """``nbflow scheduler`` as a process: its number, and the seconds until it said that it is ready."""
    began = time.perf_counter()
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
        said = []
        for line in daemon.stdout:
            said.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError(f"the scheduler did not start: {''.join(said)}")
        yield daemon.pid, time.perf_counter() - began
    finally:
        daemon.send_signal(signal.SIGTERM)
        with daemon.stdout:
            daemon.stdout.read()
        daemon.wait()


def _share_of_core(pid: int, seconds: float) -> float:
    """Percent of one core that the process and all below it use while nothing happens."""
    before, began = _cpu(pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (_cpu(pid) - before) / (time.perf_counter() - began)


def _cpu(pid: int) -> float:
    """Seconds of CPU used by a process, what lives below it, and what ended there."""
    total = 0.0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15]) / _TICKS
    return total


def _pss(pid: int) -> int:
    """Bytes, each page shared out among those who map it."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
