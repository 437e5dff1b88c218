"""Commands and options of Airflow that nbflow does not have, with their replacements. The error is one line, with exit
code 2."""

from __future__ import annotations

from collections.abc import Mapping

from nbflow import __version__

#: command -> its replacement. A single word is a whole group of commands.
ABSENT: Mapping[str, str] = {
    "webserver": "See DAGs and runs in a notebook (%load_ext nbflow) or with nbflow dags list-runs.",
    "api-server": "See DAGs and runs in a notebook (%load_ext nbflow) or with nbflow dags list-runs.",
    "triggerer": "Sensors wait in poke and reschedule mode.",
    "celery": "Tasks run on the scheduler's machine: [core] executor = LocalExecutor.",
    "kubernetes": "Tasks run on the scheduler's machine: [core] executor = LocalExecutor.",
    "dag-processor": "nbflow scheduler parses DAG files.",
    "users": "nbflow has no web pages with a login.",
    "roles": "nbflow has no web pages with a login.",
    "sync-perm": "nbflow has no web pages with a login.",
    "permissions": "nbflow has no web pages with a login.",
    "assets": "Schedule the DAG with cron, or trigger it from another DAG (TriggerDagRunOperator).",
    "partitions": "Runs are identified by run id or logical date.",
    "plugins": "Import operators and hooks from modules in the DAGs folder.",
    "providers": "Operators and hooks are part of nbflow; see nbflow info.",
    "kerberos": "Call kinit in a task.",
    "db-manager": "Use nbflow db.",
    "fab-db": "Use nbflow db.",
    "state-store": "Tasks pass values by XCom.",
    "teams": "Use one NBFLOW_HOME per team.",
    "export": "DAG files are plain Python and can be copied.",
    "config lint": "An unknown setting is an error of every command; see nbflow config list.",
    "config update": "No setting was renamed.",
    "connections create-default-connections": "Add connections with nbflow connections add.",
    "dags reserialize": "nbflow scheduler parses DAG files again when they change.",
    "dags show-dependencies": "List the tasks that trigger other DAGs with nbflow tasks list --tree.",
    "tasks run": "Run a task with nbflow tasks test; run a task of a run again with nbflow tasks clear.",
}

_ONE_REVISION = "The tables are migrated to the newest revision; nbflow db downgrade reverts them."
_WHOLE_RUNS = "A backfill executes whole runs; nbflow tasks clear runs single tasks again."

#: (command, option) -> its replacement.
ABSENT_OPTIONS: Mapping[tuple[str, str], str] = {
    (
        "backfill create",
        "--run-on-latest-version",
    ): "New runs use the newest version of the DAG; existing runs keep theirs.",
    (
        "backfill create",
        "--no-run-on-latest-version",
    ): "New runs use the newest version of the DAG; existing runs keep theirs.",
    ("config list", "--color"): "Set NO_COLOR.",
    ("config list", "--comment-out-everything"): "nbflow db init writes a commented nbflow.toml.",
    ("config list", "--defaults"): "nbflow db init writes a commented nbflow.toml.",
    ("config list", "--exclude-providers"): "Providers have no settings.",
    ("config list", "--include-env-vars"): "The column source shows the environment variable.",
    ("config list", "--include-examples"): "nbflow db init writes a commented nbflow.toml.",
    ("connections delete", "--color"): "Set NO_COLOR.",
    ("connections get", "--color"): "Set NO_COLOR.",
    ("dags backfill", "--delay-on-limit"): "Runs start as soon as earlier ones end.",
    ("dags backfill", "--disable-retry"): _WHOLE_RUNS,
    ("dags backfill", "--ignore-dependencies"): _WHOLE_RUNS,
    ("dags backfill", "--mark-success"): _WHOLE_RUNS,
    ("dags backfill", "--pool"): "Set the pool of each task in the DAG.",
    ("dags backfill", "--task-regex"): _WHOLE_RUNS,
    ("dags backfill", "--treat-dag-as-regex"): "Backfill one DAG at a time.",
    ("dags backfill", "--treat-dag-id-as-regex"): "Backfill one DAG at a time.",
    ("dags clear", "--partition-date-end"): "Runs are identified by run id or logical date.",
    ("dags clear", "--partition-date-start"): "Runs are identified by run id or logical date.",
    ("dags clear", "--partition-key"): "Runs are identified by run id or logical date.",
    ("dags list-jobs", "--dag-id"): "Each job serves all DAGs.",
    ("dags show", "--imgcat"): "Save an image with --save.",
    ("dags test", "--imgcat-dagrun"): "Save an image with --save-dagrun.",
    ("dags test", "--use-executor"): "Trigger the DAG: nbflow dags trigger.",
    ("db clean", "--batch-size"): "Rows are deleted 500 runs at a time.",
    ("db clean", "--error-on-cleanup-failure"): "A failure is always an error.",
    ("db downgrade", "--from-version"): "The tables store their revision.",
    ("db downgrade", "--show-sql-only"): "See the files in nbflow/store/migrations.",
    ("db downgrade", "--to-version"): "Pass the revision with -r.",
    ("db migrate", "--from-revision"): _ONE_REVISION,
    ("db migrate", "--from-version"): _ONE_REVISION,
    ("db migrate", "--no-reserialize-dags"): "Migrating does not change DAGs.",
    ("db migrate", "--show-sql-only"): "See the files in nbflow/store/migrations.",
    ("db migrate", "--to-revision"): _ONE_REVISION,
    ("db migrate", "--to-version"): _ONE_REVISION,
    ("scheduler", "--dev"): "DAG files are parsed again when they change.",
    ("scheduler", "--do-pickle"): "DAGs are not pickled.",
    ("scheduler", "--num-runs"): "Use --idle-exit to stop the scheduler when it is idle.",
    ("scheduler", "--only-idle"): "Use --idle-exit to stop the scheduler when it is idle.",
    ("scheduler", "--stderr"): "Use -D --log-file for both streams.",
    ("scheduler", "--stdout"): "Use -D --log-file for both streams.",
    ("scheduler", "--subdir"): "The scheduler parses [core] dags_folder.",
    ("tasks test", "--post-mortem"): "Put breakpoint() into the task, which runs in this process.",
}

_ALIASES = {"db upgrade": "db migrate"}


def option_reason(command: str, option: str) -> str | None:
    """The error for an option that Airflow has for this command; None for an unknown option."""
    instead = ABSENT_OPTIONS.get((_ALIASES.get(command, command), option))
    return None if instead is None else f"nbflow {command} {option} is not in this release ({__version__}). {instead}"


def reason(name: str) -> str | None:
    """The error for a command that Airflow has; None for an unknown command."""
    instead = ABSENT.get(name)
    return None if instead is None else f"nbflow {name} is not in this release ({__version__}). {instead}"
