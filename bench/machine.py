"""The machine and the versions on which the figures were measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def describe(stores: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The machine and the versions, as text. ``stores``: (name, version) of the measured servers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    packages = ", ".join(f"{name} {version(name)}" for name in ("nbflow", "sqlalchemy", "pendulum", "jinja2"))
    return {
        "cpu": f"{_cpu()}, {cores} cores",
        "load": f"{load} (1, 5, 15 minutes) at the start of the run",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages,
        "databases": ", ".join(f"{name} {text}" for name, text in (("sqlite", sqlite3.sqlite_version), *stores)),
    }


def _cpu() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
