"""nbflow in a notebook: ``%load_ext nbflow``, and the same verbs as plain functions.

::

    from nbflow.notebook import run, test, backfill, show, why

    show("sales")
    handle = run("sales")
    handle.wait(60)

Modules: :mod:`nbflow.sources.notebooks` reads DAG cells from files, ``kernel`` runs them live, ``verbs`` are
the functions, ``line`` the table behind ``%dag``, ``magics`` what IPython sees, ``handles`` what the verbs return.
"""

from __future__ import annotations

from nbflow.notebook.functions import backfill as backfill
from nbflow.notebook.functions import clear as clear
from nbflow.notebook.functions import gantt as gantt
from nbflow.notebook.functions import grid as grid
from nbflow.notebook.functions import list_dags as list_dags
from nbflow.notebook.functions import logs as logs
from nbflow.notebook.functions import mark as mark
from nbflow.notebook.functions import next_runs as next_runs
from nbflow.notebook.functions import pause as pause
from nbflow.notebook.functions import run as run
from nbflow.notebook.functions import runs as runs
from nbflow.notebook.functions import schedule as schedule
from nbflow.notebook.functions import show as show
from nbflow.notebook.functions import simulate as simulate
from nbflow.notebook.functions import states as states
from nbflow.notebook.functions import test as test
from nbflow.notebook.functions import unpause as unpause
from nbflow.notebook.functions import why as why
from nbflow.notebook.handles import BackfillHandle as BackfillHandle
from nbflow.notebook.handles import RunHandle as RunHandle
from nbflow.notebook.shown import Shown as Shown
