"""The soak: what it does with a seed that holds, with one that fails, and for minutes."""

from __future__ import annotations

import os
import re
import time

import pytest

from nbflow.sim import fault_injection, invariants, soak


def test_a_short_soak_counts_its_worlds_and_finds_nothing() -> None:
    said: list[str] = []
    failures = soak.soak(minutes=0.005, seed=2, say=said.append)
    assert failures == 0
    assert re.fullmatch(r"[1-9]\d* worlds, seeds 2 to \d+: 0 failed", said[-1])


def test_a_seed_that_fails_is_named_with_the_way_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a promise that cannot be kept
    def never(facts: invariants.Facts) -> object:
        """Nothing is ever committed."""
        yield invariants.Breach("something was committed")

    monkeypatch.setitem(invariants.COMMIT, 9, never)  # type: ignore[arg-type]
    said: list[str] = []

    # When a soak begins with a seed of which the world does anything at all
    failures = soak.soak(minutes=1, seed=3, say=said.append, most_failures=1)

    # Then it stops there, says what broke, how to see it again, and that no fault is to blame
    assert failures == 1
    assert said[0].startswith("seed 3 fails: InvariantBroken: promise 9 is broken: Nothing is ever committed.")
    assert "python -m nbflow.sim.soak --replay 3" in said[0]
    assert said[1] == f"  it fails without {', '.join(fault_injection.FAULTS)}, too"


def test_a_replay_prints_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    code = soak.main(["--replay", "3", "--without", "clock_back"])
    assert code == 0
    assert capsys.readouterr().out.strip() == soak.live_through(soak.world_of(3, without=["clock_back"])).trace.strip()


@pytest.mark.soak
def test_random_worlds_for_minutes() -> None:
    """make soak: NBFLOW_SOAK_MINUTES (default 10), NBFLOW_SEED (default: from the clock)."""
    minutes = float(os.environ.get("NBFLOW_SOAK_MINUTES", "10"))
    seed = int(os.environ.get("NBFLOW_SEED") or time.time())
    said: list[str] = []
    assert soak.soak(minutes=minutes, seed=seed, say=said.append) == 0, "\n".join(said)
