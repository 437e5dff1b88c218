"""Subprocesses of the tests: ``python -m tests.store.processes FUNCTION URL ...``; one line on stdout per action."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from nbflow.core.snapshot import RunKey
from nbflow.errors import StalePlan
from nbflow.store import open_store
from nbflow.store.base import Store
from tests.store.worlds import LEASE, T0, C, S, move, plan, scheduled

RUN = RunKey("sales", "r1")


def report(*values: object) -> None:
    print(*values, flush=True)


def migrate(store: Store) -> None:
    report("ready")
    sys.stdin.readline()
    store.migrate()
    store.check()
    report("done")


def schedule_all(store: Store) -> None:
    """Schedule every task in state ``none``, one plan per task, as fast as possible; print those that succeeded."""
    report("ready")
    sys.stdin.readline()
    snapshot = store.snapshot(RUN)
    assert snapshot is not None
    for key in sorted(snapshot.instances):
        try:
            store.apply([plan(scheduled(RUN, key))], actor="p")
        except StalePlan:
            continue
        report(key.task_id)


def claim_all(store: Store, owner: str) -> None:
    report("ready")
    sys.stdin.readline()
    ids = [attempt.attempt_id for attempt in store.live_attempts()]

    def claim(attempt_id: str) -> str:
        return attempt_id if store.claim(attempt_id, owner=owner, hostname="h", lease=LEASE, now=T0) else ""

    with ThreadPoolExecutor(4) as pool:
        for claimed in pool.map(claim, ids):
            if claimed:
                report(claimed)


def churn(store: Store) -> None:
    """Skip and clear all instances alternately, in one plan each, until killed."""
    for number in range(1_000_000):
        snapshot = store.snapshot(RUN)
        assert snapshot is not None
        ops = []
        for key, ti in snapshot.instances.items():
            if ti.state is S.NONE:
                ops.append(move(RUN, key, S.NONE, C.RULE_SKIPS, S.SKIPPED, note="x" * 500))
            else:
                ops.append(move(RUN, key, S.SKIPPED, C.CLEARED, S.NONE, note=None))
        store.apply([plan(*ops)], actor="churn", expect={RUN: snapshot.run.revision})
        report(number)


if __name__ == "__main__":
    function, url, *rest = sys.argv[1:]
    globals()[function](open_store(url), *rest)
