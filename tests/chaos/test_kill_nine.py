"""kill -9 of schedulers, fork servers and tasks, at random times of a run of 200 tasks."""

from __future__ import annotations

import os
import sys

import pytest

from .rounds import Round

SEEDS = (1, 2, 3)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]


@pytest.fixture
def run_round(new_postgres_url, tmp_path):
    rounds: list[Round] = []

    def start(seed, url=None, **options):
        rounds.append(Round(tmp_path / f"home{len(rounds)}", seed, url))
        return rounds[-1].run(**options)

    yield start
    for chaos_round in rounds:
        chaos_round.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_on_sqlite_survives(run_round, seed):
    assert run_round(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_on_postgres_survives(run_round, seed, new_postgres_url):
    assert run_round(seed, new_postgres_url())


def test_two_schedulers_on_postgres_share_a_run_that_survives_kills(run_round, new_postgres_url):
    assert run_round(7, new_postgres_url(), schedulers=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + int(os.environ.get("NBFLOW_CHAOS_ROUNDS", "50"))))
def test_many_rounds(run_round, seed, new_postgres_url):
    assert run_round(seed, new_postgres_url() if seed % 2 else None)
