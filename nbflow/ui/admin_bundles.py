"""The views of Airflow's menu Admin as cell outputs: status, pools, variables, connections."""

from __future__ import annotations

from datetime import datetime

from nbflow.commands.surface_syntax import Surface, invocation
from nbflow.services.schedulers import describe
from nbflow.ui import formatting
from nbflow.ui.escaping import escape
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.tables import Cell, Table, html_table, text_table, when_cell
from nbflow.ui.view_bundles import card, table_bundle
from nbflow.views.connections import ConnectionsView
from nbflow.views.pools import PoolsView
from nbflow.views.status import StatusView
from nbflow.views.variables import VariablesView


def status_bundle(view: StatusView, now: datetime) -> Bundle:
    """Whether a scheduler runs, and the numbers of DAGs, active runs and running tasks."""
    scheduler = describe(next(iter(view.schedulers), None))
    title = f"{scheduler[0].upper()}{scheduler[1:]}"
    numbers = (view.dags, view.import_errors, view.queued_runs, view.running_runs, view.running_tasks)
    table = Table(
        columns=("DAGs", "import errors", "queued runs", "running runs", "running tasks", "next run"),
        rows=((*(Cell(text=f"{number:,}", right=True) for number in numbers), _next_run(view, now)),),
    )
    foot = f"Home {view.home}, DAGs in {view.dags_folder}, metastore {view.metastore}."
    if not view.schedulers:
        foot += f" Start a scheduler with {invocation('scheduler', Surface.NOTEBOOK)}."
    html = card("status", title, html_table(table), foot=escape(foot))
    return Bundle(html=html, text=f"{title}.\n{text_table(table)}\n{foot}")


def _next_run(view: StatusView, now: datetime) -> Cell:
    if view.next_run is None or view.next_run > now:
        return when_cell(formatting.relative(view.next_run, now))
    return Cell(text="is due", hover=formatting.exact(view.next_run), muted=True)


def pools_bundle(view: PoolsView) -> Bundle:
    """The pools with their occupied slots."""
    rows = tuple(
        (
            Cell(text=row.pool, bold=True),
            Cell(text=f"{row.taken:,}", right=True),
            Cell(text="no limit" if row.slots < 0 else f"{row.slots:,}", right=True),
            Cell(text="yes" if row.include_deferred else ""),
            Cell(text=row.description, wraps=True),
        )
        for row in view.rows
    )
    return table_bundle(
        "Pools", Table(columns=("pool", "taken", "slots", "include deferred", "description"), rows=rows)
    )


def variables_bundle(view: VariablesView) -> Bundle:
    """The keys of the variables with their descriptions."""
    rows = tuple((Cell(text=row.key, bold=True), Cell(text=row.description or "", wraps=True)) for row in view.rows)
    return table_bundle("Variables", Table(columns=("key", "description"), rows=rows, empty="There is no variable."))


def connections_bundle(view: ConnectionsView) -> Bundle:
    """The connections; passwords and the values of extras are hidden."""
    rows = tuple(
        (
            Cell(text=row.conn_id, bold=True),
            *(
                Cell(text="" if value is None else str(value))
                for value in (row.conn_type, row.host, row.port, row.login, row.password, row.schema, row.extra)
            ),
            Cell(text=row.description or "", wraps=True),
        )
        for row in view.rows
    )
    columns = ("connection", "type", "host", "port", "login", "password", "schema", "extra", "description")
    empty = "There is no connection in the metastore."
    return table_bundle("Connections", Table(columns=columns, rows=rows, empty=empty))
