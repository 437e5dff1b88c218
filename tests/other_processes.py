"""The same code in processes that order sets of text in other ways: what depends on such an order shows only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HASH_SEEDS = ("1", "2")


def printed(code: str) -> set[str]:
    """What ``code`` prints in each: one text, if all are alike."""
    command = [sys.executable, "-c", code]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = [
        subprocess.run(command, env={**environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
        for seed in HASH_SEEDS
    ]
    assert [process.stderr for process in done if process.returncode != 0] == []
    return {process.stdout.strip() for process in done}
