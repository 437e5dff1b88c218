"""The read-only verbs of ``%nbflow``: status, pools, variables and connections. No output contains a secret, since
outputs are saved in notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nbflow.command_arguments import Values
from nbflow.notebook.displayable import Shown
from nbflow.notebook.session import current_session
from nbflow.ui.admin_bundles import connections_bundle, pools_bundle, status_bundle, variables_bundle
from nbflow.views.connections import ConnectionsQuery
from nbflow.views.pools import PoolsQuery
from nbflow.views.status import StatusQuery
from nbflow.views.variables import VariablesQuery


def status() -> Shown:
    """Whether a scheduler is running, and the active runs of the home. As a value: the view."""
    session = current_session()
    view = session.fetch(StatusQuery())
    return Shown(view, status_bundle(view, session.app.clock.now()))


def pools() -> Shown:
    """The pools. As a value: name -> row."""
    view = current_session().fetch(PoolsQuery())
    return Shown({row.pool: row for row in view.rows}, pools_bundle(view))


def variables() -> Shown:
    """The variables of the metastore, without their values. As a value: key -> row."""
    view = current_session().fetch(VariablesQuery())
    return Shown({row.key: row for row in view.rows}, variables_bundle(view))


def connections(conn_id: str | None = None) -> Shown:
    """The connections of the metastore, or the connection ``conn_id``; secrets are masked. As a value: id -> row."""
    view = current_session().fetch(ConnectionsQuery())
    view = replace(view, rows=tuple(row for row in view.rows if conn_id in (None, row.conn_id)))
    return Shown({row.conn_id: row for row in view.rows}, connections_bundle(view))


CALLS: Mapping[str, Callable[[Values], Shown]] = {
    "status": lambda args: status(),
    "pools": lambda args: pools(),
    "variables": lambda args: variables(),
    "connections": lambda args: connections(args.conn_id),
}
"""Verbs that show a view."""
