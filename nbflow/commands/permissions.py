"""Permissions that commands require. A role is a set of permissions."""

from __future__ import annotations

from collections.abc import Mapping

PERMISSIONS: Mapping[str, str] = {
    "dags.read": "See DAGs, their runs, tasks, states and logs.",
    "dags.edit": "Pause and unpause DAGs.",
    "dags.delete": "Delete DAGs and their history.",
    "dags.create": "Write DAG files.",
    "runs.create": "Trigger and backfill runs.",
    "runs.edit": "Clear and mark runs and task instances; pause and cancel backfills.",
    "variables.read": "See variables.",
    "variables.edit": "Set and delete variables.",
    "connections.read": "See connections.",
    "connections.edit": "Add and delete connections.",
    "pools.read": "See pools.",
    "pools.edit": "Set and delete pools.",
    "jobs.read": "See the processes of nbflow.",
    "scheduler.control": "Start and stop schedulers.",
    "learning.edit": "Check exercises of labs and answer quizzes; progress is stored.",
    "config.read": "See settings, versions and paths.",
    "metastore.read": "Check the metastore and its tables.",
    "metastore.edit": "Migrate, clean and reset the metastore, or open a shell on it.",
}
"""Permission -> what it allows."""
