"""The soak: what it does with a seed that holds, with one that fails, and for minutes."""

from __future__ import annotations

import os
import re
import time

import pytest

from nbflow.sim import invariants, soak


def test_a_short_soak_counts_its_worlds_and_finds_nothing() -> None:
    said: list[str] = []
    failures = soak.soak(minutes=0.005, seed=8, say=said.append)
    assert failures == 0
    assert re.fullmatch(r"[1-9]\d* worlds, seeds 8 to \d+, \d+ store calls in \d+ turns: 0 failed", said[-1])


def test_a_seed_that_fails_is_named_with_the_way_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a promise that cannot be kept
    def never(facts: invariants.Facts) -> object:
        """Nothing is ever committed."""
        yield invariants.Breach("something was committed")

    monkeypatch.setitem(invariants.COMMIT, 9, never)  # type: ignore[arg-type]
    said: list[str] = []

    # When a soak begins with a seed of which the world does anything at all
    failures = soak.soak(minutes=1, seed=3, say=said.append, max_failures=1)

    # Then it stops there, and says what broke and how to see it again
    assert failures == 1
    assert said[0].startswith("seed 3 fails: InvariantBroken: promise 9 is broken: Nothing is ever committed.")
    assert "python -m nbflow.sim.soak --shrink 3" in said[0]


def test_a_failing_seed_is_shrunk_to_the_faults_and_deeds_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a promise that each crash breaks
    def no_crash(facts: invariants.Facts) -> object:
        """Nobody is killed."""
        if any(job.job_id.endswith(".2") for job in facts.store.jobs("scheduler")):
            yield invariants.Breach("a scheduler was started again")

    monkeypatch.setitem(invariants.COMMIT, 9, no_crash)  # type: ignore[arg-type]
    outcomes = ((seed, *soak.failure_of(soak.Plan(seed=seed))) for seed in range(100))
    seed = next(seed for seed, failure, world in outcomes if failure and "Nobody" in failure and len(world.drawn) < 20)

    # When its seed is shrunk
    plan, faults, failure = soak.shrunk(seed)

    # Then one fault is left, and no user
    assert [fault.fault in ("crash", "restart") for fault in faults] == [True]
    assert len(plan.deeds or ()) <= 1  # something must be committed, for the promise to be checked
    assert "a scheduler was started again" in failure


def test_a_replay_prints_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    code = soak.main(["--replay", "8", "--without", "crash"])
    assert code == 0
    assert capsys.readouterr().out.strip() == soak.live_through(soak.world_of(8, without=["crash"])).trace.strip()


@pytest.mark.soak
def test_random_worlds_for_minutes() -> None:
    """make soak: NBFLOW_SOAK_MINUTES (default 10), NBFLOW_SEED (default: from the clock)."""
    minutes = float(os.environ.get("NBFLOW_SOAK_MINUTES", "10"))
    seed = int(os.environ.get("NBFLOW_SEED") or time.time())
    said: list[str] = []
    assert soak.soak(minutes=minutes, seed=seed, say=said.append) == 0, "\n".join(said)
