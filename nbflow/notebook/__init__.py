"""nbflow in a notebook: ``%load_ext nbflow``, and the same verbs as plain functions.

::

    from nbflow.notebook import run, test, backfill, show, why

    show("sales")
    handle = run("sales")
    handle.wait(60)

Modules: ``notebook_source`` (in :mod:`nbflow.dag`) reads DAG cells from files, ``kernel`` runs them live, ``verbs`` are
the functions, ``line`` the table behind ``%dag``, ``magics`` what IPython sees, ``handles`` what the verbs return.
"""

from __future__ import annotations

from nbflow.notebook.handles import BackfillHandle as BackfillHandle
from nbflow.notebook.handles import RunHandle as RunHandle
from nbflow.notebook.handles import Shown as Shown
from nbflow.notebook.verbs import backfill as backfill
from nbflow.notebook.verbs import clear as clear
from nbflow.notebook.verbs import gantt as gantt
from nbflow.notebook.verbs import grid as grid
from nbflow.notebook.verbs import list_dags as list_dags
from nbflow.notebook.verbs import logs as logs
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
