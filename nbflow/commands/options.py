"""Arguments that several commands share. Each is declared once, so that its help is the same everywhere."""

from __future__ import annotations

from nbflow.command_arguments import DAG, DATE, FILE, INTEGER, JSON, PAIR, RUN, TASK, argument, switch
from nbflow.core.run_ids import WHICH_RUN

DAG_ID = argument("dag_id", type=DAG, help="Id of the DAG.")
DAG_ID_OR_FLAG = argument("dag_id", "-d", "--dag-id", type=DAG, metavar="DAG_ID", help=DAG_ID.help)
DAG_ID_IS_REGEX = switch("--treat-dag-id-as-regex", help="Select every DAG whose id matches dag_id.")

TASK_ID = argument("task_id", type=TASK, help="Id of the task.")
OPTIONAL_TASK_ID = argument("task_id", type=TASK, required=False, metavar="TASK", help="Id of the task (default: all).")
TASK_IDS = argument("tasks", type=TASK, repeated=True, metavar="TASK", help="Ids of the tasks (default: all).")
MAP_INDEX = argument("--map-index", type=INTEGER, default=-1, help="Map index of the instance of a mapped task.")

RUN_ID = argument("run", type=RUN, metavar="RUN", help=f"The run: {WHICH_RUN}.")
SHOWN_RUN = argument(
    "run", "--run", type=RUN, required=False, metavar="RUN", help=f"Show the states of this run: {WHICH_RUN}."
)
LAST_RUN = argument(
    "run", "--run", type=RUN, required=False, metavar="RUN", help=f"The run: {WHICH_RUN} (default: last)."
)
START_DATE = argument("-s", "--start-date", type=DATE, help="Only runs from this logical date on.")
END_DATE = argument("-e", "--end-date", type=DATE, help="Only runs up to this logical date.")

PARAM = argument("-p", "--param", type=PAIR, repeated=True, help="A param of the run; may be repeated.")
CONF = argument("-c", "--conf", type=JSON, help="The run's conf: a JSON object.")
LOGICAL_DATE_HELP = "Logical date of the run (default: now)."

INPUT_FILE = argument("file", type=FILE, help="File to read.")
OUTPUT_FILE = argument("file", type=FILE, help="File to write ('-': stdout).")
SHOW_VALUES = switch("--show-values", help="Show sensitive values.")
HIDE_SENSITIVE = switch("--hide-sensitive", help="Ignored: sensitive values are hidden unless --show-values is given.")
