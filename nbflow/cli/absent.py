"""Commands of Airflow that this release does not have, and what to do instead: one line each, exit code 2."""

from __future__ import annotations

from collections.abc import Mapping

from nbflow import __version__

#: command -> what takes its place. One word stands for its whole group.
ABSENT: Mapping[str, str] = {
    "webserver": "Look at DAGs and runs in a notebook (%load_ext nbflow) or with nbflow dags list-runs.",
    "api-server": "Look at DAGs and runs in a notebook (%load_ext nbflow) or with nbflow dags list-runs.",
    "triggerer": "Sensors wait in poke and reschedule mode.",
    "celery": "Tasks run on the scheduler's machine: [core] executor = LocalExecutor.",
    "kubernetes": "Tasks run on the scheduler's machine: [core] executor = LocalExecutor.",
    "dag-processor": "DAG files are read by nbflow scheduler itself.",
    "users": "There are no web pages yet to log in to.",
    "roles": "There are no web pages yet to log in to.",
    "sync-perm": "There are no web pages yet to log in to.",
    "permissions": "There are no web pages yet to log in to.",
    "assets": "Give the DAG a cron schedule, or trigger it from another one (TriggerDagRunOperator).",
    "partitions": "Runs are named by their logical dates.",
    "plugins": "Operators and hooks can be imported from modules in the DAGs folder.",
    "providers": "Operators and hooks come with nbflow; see nbflow info.",
    "kerberos": "A task may call kinit itself.",
    "db-manager": "Use nbflow db.",
    "state-store": "Tasks hand over values by XCom.",
    "teams": "A home serves one team: give each its NBFLOW_HOME.",
    "export": "Tasks of a DAG are plain Python: the file can be copied.",
    "labs": "See the notebooks in the folder labs.",
    "quiz": "In a notebook: %quiz.",
    "config lint": "Unknown settings are refused whenever nbflow starts: nbflow config list.",
    "config update": "Settings have kept their names: there is nothing to update.",
    "connections create-default-connections": "Add those that you use: nbflow connections add.",
    "dags reserialize": "DAG files are read again whenever they change, by nbflow scheduler.",
    "dags show-dependencies": "See the tasks that trigger other DAGs with nbflow tasks list --tree.",
    "db drop-archived": "nbflow db clean deletes; copy the database before it, to keep what was there.",
    "db export-archived": "nbflow db clean deletes; copy the database before it, to keep what was there.",
    "tasks run": "Try a task with nbflow tasks test; let a run's task go again with nbflow tasks clear.",
}


def reason(name: str) -> str | None:
    """The line for a command that Airflow (or a later nbflow) has; None for one that nobody knows."""
    instead = ABSENT.get(name)
    return None if instead is None else f"nbflow {name} is not in this release ({__version__}). {instead}"
