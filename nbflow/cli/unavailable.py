"""Commands and options of Airflow that this release does not have, and what to do instead: one line, exit code 2."""

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
    "fab-db": "Use nbflow db.",
    "state-store": "Tasks hand over values by XCom.",
    "teams": "A home serves one team: give each its NBFLOW_HOME.",
    "export": "Tasks of a DAG are plain Python: the file can be copied.",
    "config lint": "Unknown settings are refused whenever nbflow starts: nbflow config list.",
    "config update": "Settings have kept their names: there is nothing to update.",
    "connections create-default-connections": "Add those that you use: nbflow connections add.",
    "dags reserialize": "DAG files are read again whenever they change, by nbflow scheduler.",
    "dags show-dependencies": "See the tasks that trigger other DAGs with nbflow tasks list --tree.",
    "tasks run": "Try a task with nbflow tasks test; let a run's task go again with nbflow tasks clear.",
}

_ONE_REVISION = "The tables go to the newest revision; nbflow db downgrade takes them back."
_WHOLE_RUNS = "A backfill makes whole runs; nbflow tasks clear lets single tasks go again."

#: (command, option) -> what takes its place.
ABSENT_OPTIONS: Mapping[tuple[str, str], str] = {
    ("backfill create", "--run-on-latest-version"): "New runs take the newest version, others keep theirs.",
    ("backfill create", "--no-run-on-latest-version"): "New runs take the newest version, others keep theirs.",
    ("config list", "--color"): "Set NO_COLOR.",
    ("config list", "--comment-out-everything"): "nbflow db init writes a commented nbflow.toml.",
    ("config list", "--defaults"): "nbflow db init writes a commented nbflow.toml.",
    ("config list", "--exclude-providers"): "There are no settings of providers.",
    ("config list", "--include-env-vars"): "The column source names the variable.",
    ("config list", "--include-examples"): "nbflow db init writes a commented nbflow.toml.",
    ("connections delete", "--color"): "Set NO_COLOR.",
    ("connections get", "--color"): "Set NO_COLOR.",
    ("dags backfill", "--delay-on-limit"): "Runs start as soon as others end.",
    ("dags backfill", "--disable-retry"): _WHOLE_RUNS,
    ("dags backfill", "--ignore-dependencies"): _WHOLE_RUNS,
    ("dags backfill", "--mark-success"): _WHOLE_RUNS,
    ("dags backfill", "--pool"): "Tasks name their pools.",
    ("dags backfill", "--task-regex"): _WHOLE_RUNS,
    ("dags backfill", "--treat-dag-as-regex"): "Backfill one DAG at a time.",
    ("dags backfill", "--treat-dag-id-as-regex"): "Backfill one DAG at a time.",
    ("dags clear", "--partition-date-end"): "Runs are named by their logical dates.",
    ("dags clear", "--partition-date-start"): "Runs are named by their logical dates.",
    ("dags clear", "--partition-key"): "Runs are named by their logical dates.",
    ("dags list-jobs", "--dag-id"): "Jobs are processes, which serve all DAGs.",
    ("dags show", "--imgcat"): "Save the picture with --save.",
    ("dags test", "--imgcat-dagrun"): "Save the picture with --save-dagrun.",
    ("dags test", "--use-executor"): "Trigger the DAG: nbflow dags trigger.",
    ("db clean", "--batch-size"): "Rows are deleted 500 runs at a time.",
    ("db clean", "--error-on-cleanup-failure"): "A failure is always an error.",
    ("db downgrade", "--from-version"): "The tables know their revision.",
    ("db downgrade", "--show-sql-only"): "See the files in nbflow/store/migrations.",
    ("db downgrade", "--to-version"): "Name the revision with -r.",
    ("db migrate", "--from-revision"): _ONE_REVISION,
    ("db migrate", "--from-version"): _ONE_REVISION,
    ("db migrate", "--no-reserialize-dags"): "DAGs stay as they are.",
    ("db migrate", "--show-sql-only"): "See the files in nbflow/store/migrations.",
    ("db migrate", "--to-revision"): _ONE_REVISION,
    ("db migrate", "--to-version"): _ONE_REVISION,
    ("scheduler", "--dev"): "DAG files are read again whenever they change.",
    ("scheduler", "--do-pickle"): "Nothing is pickled.",
    ("scheduler", "--num-runs"): "nbflow scheduler --idle-exit ends it when nothing is left to do.",
    ("scheduler", "--only-idle"): "nbflow scheduler --idle-exit ends it when nothing is left to do.",
    ("scheduler", "--stderr"): "nbflow scheduler -D --log-file takes both streams.",
    ("scheduler", "--stdout"): "nbflow scheduler -D --log-file takes both streams.",
    ("scheduler", "--subdir"): "It reads [core] dags_folder.",
    ("tasks test", "--post-mortem"): "Put breakpoint() into the task: it runs in this process.",
}

_ALSO = {"db upgrade": "db migrate"}


def option_reason(command: str, option: str) -> str | None:
    """The line for an option that Airflow has at this command; None for one that nobody knows."""
    instead = ABSENT_OPTIONS.get((_ALSO.get(command, command), option))
    return None if instead is None else f"nbflow {command} {option} is not in this release ({__version__}). {instead}"


def reason(name: str) -> str | None:
    """The line for a command that Airflow (or a later nbflow) has; None for one that nobody knows."""
    instead = ABSENT.get(name)
    return None if instead is None else f"nbflow {name} is not in this release ({__version__}). {instead}"
