"""nbflow in a notebook: ``%load_ext nbflow`` and its magics, and the verbs of ``%dag`` as plain functions.

::

    from nbflow.notebook import run, test, backfill, show, why

    show("sales")
    handle = run("sales")
    handle.wait(60)

Modules:

    magics             registration and help of the magics
    completion         what Tab offers on the lines of magics and of ``!nbflow``
    dag_line_magic     parses ``%dag VERB ...`` and calls the verb
    verbs              the verbs of ``%dag`` as functions
    task_verbs         the verbs about the tasks of a run: states, why, logs, clear
    admin_verbs        the read-only verbs of ``%nbflow``: status, pools, variables, connections
    followed_log       ``%dag logs -f``
    commands           executes a command of :mod:`nbflow.commands` in this kernel
    displayable        ``Shown``: a value that displays itself
    run_handles        ``RunHandle`` and ``BackfillHandle``
    session            the open NBFLOW_HOME and the DAGs of this kernel's cells
    cells              runs a ``%%dag`` cell (:mod:`nbflow.sources.notebooks` reads the cells of saved notebooks)
    dag_cell_output    the output of a ``%%dag`` cell
    error_display      an NbflowError as one red line
    breakpoints        ``breakpoint()`` under ``%dag test``
    schedule_notebook  ``%dag schedule``: writes a DAG file that runs a notebook
"""

from __future__ import annotations

from nbflow.notebook.displayable import Shown as Shown
from nbflow.notebook.run_handles import BackfillHandle as BackfillHandle
from nbflow.notebook.run_handles import RunHandle as RunHandle
from nbflow.notebook.verbs import backfill as backfill
from nbflow.notebook.verbs import clear as clear
from nbflow.notebook.verbs import gantt as gantt
from nbflow.notebook.verbs import grid as grid
from nbflow.notebook.verbs import list_dags as list_dags
from nbflow.notebook.verbs import logs as logs
from nbflow.notebook.verbs import mark as mark
from nbflow.notebook.verbs import next_runs as next_runs
from nbflow.notebook.verbs import pause as pause
from nbflow.notebook.verbs import run as run
from nbflow.notebook.verbs import runs as runs
from nbflow.notebook.verbs import schedule as schedule
from nbflow.notebook.verbs import show as show
from nbflow.notebook.verbs import simulate as simulate
from nbflow.notebook.verbs import states as states
from nbflow.notebook.verbs import test as test
from nbflow.notebook.verbs import unpause as unpause
from nbflow.notebook.verbs import why as why
