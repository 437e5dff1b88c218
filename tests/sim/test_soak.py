"""The soak: seeds that pass, seeds that fail, shrinking and replays."""

from __future__ import annotations

import os
import re
import time

import pytest

from nbflow.sim import invariants, soak


def test_a_soak_without_failures_reports_its_counts() -> None:
    reports: list[str] = []
    failures = soak.soak(minutes=0.005, seed=8, say=reports.append)
    assert failures == 0
    assert re.fullmatch(r"[1-9]\d* worlds, seeds 8 to \d+, \d+ store calls in \d+ turns: 0 failed", reports[-1])


def test_the_report_of_a_failing_seed_has_the_command_that_shrinks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an invariant that every commit breaks
    def never(observed: invariants.Observations) -> object:
        """Nothing is ever committed."""
        yield invariants.Breach("something was committed")

    monkeypatch.setitem(invariants.COMMIT, 9, never)  # type: ignore[arg-type]
    reports: list[str] = []

    # When a soak starts
    failures = soak.soak(minutes=1, seed=3, say=reports.append, max_failures=1)

    # Then it stops at the first seed and reports the invariant and the command
    assert failures == 1
    assert reports[0].startswith("seed 3 fails: InvariantBroken: promise 9 is broken: Nothing is ever committed.")
    assert "python -m nbflow.sim.soak --shrink 3" in reports[0]


def test_a_failing_seed_is_shrunk_to_its_necessary_faults_and_user_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an invariant that each crash and each restart breaks
    def no_crash(observed: invariants.Observations) -> object:
        """No scheduler is replaced."""
        if any(job.job_id.endswith(".2") for job in observed.store.jobs("scheduler")):
            yield invariants.Breach("a scheduler was started again")

    monkeypatch.setitem(invariants.COMMIT, 9, no_crash)  # type: ignore[arg-type]
    outcomes = ((seed, *soak.failure_of(soak.Plan(seed=seed))) for seed in range(100))
    seed = next(
        seed for seed, failure, world in outcomes if failure and "is replaced" in failure and len(world.drawn) < 20
    )

    # When its seed is shrunk
    plan, faults, failure = soak.shrunk(seed)

    # Then one fault is left, and at most one user action
    assert [fault.fault in ("crash", "restart") for fault in faults] == [True]
    assert len(plan.deeds or ()) <= 1  # the invariant is checked after a commit only
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
    reports: list[str] = []
    assert soak.soak(minutes=minutes, seed=seed, say=reports.append) == 0, "\n".join(reports)
