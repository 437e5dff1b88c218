"""Tasks and their instances: clearing, logs, states, why they wait."""

from __future__ import annotations

from nbflow.arguments import DAG, INTEGER, RUN, TASK, WHOLE, argument, switch
from nbflow.commands.base import Command
from nbflow.commands.dags import DAG_ID, RUN_ID
from nbflow.core.run_ids import WHICH_RUN

TASK_ID = argument("task_id", type=TASK, required=False, metavar="TASK", help="Id of the task (default: all).")

COMMANDS = (
    Command(
        name="tasks clear",
        magic="%dag clear",
        help="Clear tasks so that they run again.",
        permission="runs.edit",
        changes=True,
        arguments=(
            DAG_ID,
            argument("tasks", type=TASK, repeated=True, metavar="TASK", help="Which tasks (default: all)."),
            argument("--run", "--run-id", name="run", type=RUN, help=f"Which run: {WHICH_RUN}."),
            switch("-u", "--upstream", help="And all tasks before them."),
            switch("-d", "--downstream", help="And all tasks after them."),
            switch("--failed", "-f", "--only-failed", name="only_failed", help="Only those that failed."),
            switch("--newest", help="Run them with the newest version of the DAG."),
            switch("--dry-run", help="Only list what would be cleared."),
        ),
        example="sales load --downstream",
    ),
    Command(
        name="states",
        magic="%dag states",
        help="The task instances of a run; without a DAG: what the states mean.",
        permission="dags.read",
        arguments=(argument("dag_id", type=DAG, required=False, help="Id of the DAG."), RUN_ID),
        example="sales",
    ),
    Command(
        name="logs",
        magic="%dag logs",
        help="The log of a task; by default of one that failed.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            TASK_ID,
            RUN_ID,
            argument("--try", name="try_number", type=WHOLE, help="Which try (default: the last)."),
            argument("--search", default="", metavar="WORD", help="Only lines that hold this word."),
        ),
        example="sales load --search error",
    ),
    Command(
        name="why",
        magic="%dag why",
        help="Why a run's tasks wait, or why one ended as it did.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            TASK_ID,
            RUN_ID,
            argument("--map-index", type=INTEGER, default=-1, help="Which instance of a mapped task."),
        ),
        example="sales load",
    ),
)
