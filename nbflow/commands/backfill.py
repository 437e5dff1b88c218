"""Backfills: the runs of past intervals."""

from __future__ import annotations

from nbflow.arguments import DAG, DATE, INTEGER, JSON, argument, switch
from nbflow.commands.base import Command
from nbflow.commands.dags import PARAM

COMMANDS = (
    Command(
        name="backfill create",
        magic="%dag backfill",
        help="Make the runs of past intervals; a scheduler runs them.",
        permission="runs.create",
        changes=True,
        arguments=(
            argument("dag_id", "-d", "--dag-id", type=DAG, metavar="DAG_ID", help="Id of the DAG."),
            argument("from_date", "--from-date", type=DATE, metavar="FROM", help="First logical date."),
            argument(
                "to_date",
                "--to-date",
                type=DATE,
                required=False,
                metavar="TO",
                help="Last logical date, included (default: the first).",
            ),
            argument(
                "--reprocess",
                "--reprocess-behavior",
                choices=("none", "failed", "completed"),
                default="none",
                help="Which finished runs to run again (default: none).",
            ),
            switch("--dry-run", help="Only show the runs that it would make."),
            switch("--backwards", "--run-backwards", name="run_backwards", help="Newest first."),
            argument("--max-active-runs", type=INTEGER, default=10, help="Most runs at once (default: 10)."),
            PARAM,
            argument("-c", "--conf", "--dag-run-conf", type=JSON, help="Values for the runs: a JSON object."),
        ),
        example="sales 2024-01-01 2024-01-31 --dry-run",
    ),
)
