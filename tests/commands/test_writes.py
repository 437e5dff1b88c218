"""Surfaces write to the metastore only through commands and services, so that every change is audited."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nbflow
from nbflow.store.base import Store

ROOT = Path(nbflow.__file__).parent
SURFACES = ("cli", "notebook", "teach", "ui", "live", "views", "commands")
READS = {
    "active_runs", "archived", "archives", "attempt", "attempts", "audit_log", "backfill", "backfills", "change_token",
    "check", "connection", "connections", "counts", "current_states", "dag", "dag_limits", "dags", "due_dags", "events",
    "expired", "history", "history_end", "import_errors", "instances", "instances_of_runs", "jobs", "last_seq",
    "latest_run", "live_attempts", "newest_runs", "next_due", "pool", "pools", "previous_success", "recent_runs",
    "rendered", "row_counts", "run", "run_states", "runs", "shared", "snapshot", "triggers", "unscheduled_dags",
    "usage", "variable", "variables", "version", "versions", "wait_for_change", "xcom_get", "xcoms",
}  # fmt: skip
WRITES = {
    "add_backfill", "apply", "audit", "claim", "claim_all", "claim_callbacks", "close", "delete_connection",
    "delete_dag", "delete_run", "delete_pool", "delete_variable", "downgrade", "drop_archives",
    "end_stalled_transactions", "finish_callback",
    "heartbeat", "lease_runs", "lock", "migrate", "prune", "put_import_errors", "put_job", "put_rendered",
    "register", "release_runs", "release_singleton", "rotate_secrets", "set_connection", "set_next_run", "set_paused",
    "set_pool", "set_process", "set_stale", "set_variable", "take_singleton", "update_backfill", "xcom_push",
}  # fmt: skip
ALLOWED = {("nbflow/commands/base.py", "audit")}
"""Only run_command knows that a command failed."""


def test_each_method_of_the_store_is_classified():
    methods = {name for name in dir(Store) if not name.startswith("_") and name != "url"}
    assert methods == READS | WRITES
    assert set() == READS & WRITES


@pytest.mark.parametrize("surface", SURFACES)
def test_a_surface_calls_no_writing_method_of_the_store(surface):
    calls = set()
    for path in sorted((ROOT / surface).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in WRITES and ast.unparse(node.value).endswith("store"):
                calls.add((str(path.relative_to(ROOT.parent)), node.attr))
    assert calls - ALLOWED == set()


@pytest.mark.parametrize("surface", SURFACES)
def test_a_surface_does_not_import_an_implementation_of_the_store(surface):
    for path in sorted((ROOT / surface).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            stores = [name for name in modules if name.startswith(("nbflow.store.sql", "nbflow.store.memory"))]
            assert stores == [], path
