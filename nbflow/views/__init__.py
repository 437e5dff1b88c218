"""READ: everything that nbflow can show, one module per view.

The rules
---------
* Each module has a query, the view's values, and ``fetch(store, query, now) -> View``. CLI, magics, live feeds and
  pages that show the same fact fetch the same view, so they cannot disagree.
* A **query** (:class:`~nbflow.views.base.Query`) holds ids only: no labels, paths, addresses or "newest". The surface
  resolves what a user typed into ids first (``operations.find_run``). So a saved notebook can keep a query, all
  watchers of one thing can share it, and it still means the same tomorrow.
* A **view** (:class:`~nbflow.views.base.View`) is a frozen value that holds frozen values. Times are aware and carry
  the time zone of their DAG, durations are seconds, and states are the words of ``core.states`` as plain text, so that
  a view can show the states of a newer metastore.
* ``fetch`` sends a **bounded number of statements**, whatever the number of DAGs, runs and tasks.
  ``tests/views/test_statements.py`` counts them.
* A view decides nothing and changes nothing. The surface adds what the metastore cannot know, such as unsaved cells.
* ``to_json()`` returns plain JSON with the view's name and schema version. The version rises when a reader of the old
  shape would misread the new one. :mod:`nbflow.views.patches` computes the difference between two states of a view.

To add a view, add a module here and its name to the table of views.
"""

from __future__ import annotations
