"""SQL, on any database with a hook.

Pass values from outside the DAG file by ``parameters``, which the driver binds. Do not render them into the statement,
because the database would interpret them as SQL::

    SQLExecuteQueryOperator(task_id="q", conn_id="db", sql="delete from t where day = ?", parameters=["{{ ds }}"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.hooks.base import BaseHook
from nbflow.hooks.dbapi import DbApiHook, fetch_all_handler
from nbflow.operators.base import BaseOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class SQLExecuteQueryOperator(BaseOperator):
    """Executes ``sql`` (a statement, several, or the name of a ``.sql`` file) on the database of ``conn_id``.

    The connection's type selects the hook; ``hook_params`` and ``database`` are passed to it. All statements run in a
    transaction, unless ``autocommit``. ``split_statements`` splits a script (default: if ``sql`` is text with more than
    one statement). ``handler`` converts the cursor to the result (default: all rows) of the last statement or, with
    ``return_last=False``, of each.
    """

    default_conn_id = "sql_default"
    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", "hook_params")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "parameters": "json"}
    ui_color = "#cdaaed"

    def __init__(
        self,
        *,
        sql: str | Sequence[str],
        conn_id: str | None = None,
        autocommit: bool = False,
        parameters: Mapping[str, Any] | Iterable[Any] | None = None,
        handler: Callable[[Any], Any] | None = fetch_all_handler,
        output_processor: Callable[[list[Any], list[Any]], Any] | None = None,
        split_statements: bool | None = None,
        return_last: bool = True,
        show_return_value_in_logs: bool = False,
        database: str | None = None,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.conn_id = conn_id
        self.autocommit = autocommit
        self.parameters = parameters
        self.handler = handler
        self.output_processor = output_processor
        self.split_statements = split_statements
        self.return_last = return_last
        self.show_return_value_in_logs = show_return_value_in_logs
        self.database = database
        self.hook_params = hook_params

    def get_db_hook(self) -> DbApiHook:
        """Return the hook of the connection."""
        params = {**(self.hook_params or {}), **({"database": self.database} if self.database else {})}
        hook: DbApiHook = BaseHook.get_hook(self.conn_id or self.default_conn_id, params)
        return hook

    def execute(self, context: Context) -> Any:
        hook = self.get_db_hook()
        split = self.split_statements
        if split is None:
            split = isinstance(self.sql, str) and len(hook.split_sql(self.sql)) > 1
        result = hook.run(
            self.sql,
            autocommit=self.autocommit,
            parameters=self.parameters,  # type: ignore[arg-type]
            handler=self.handler if self.do_xcom_push or self.show_return_value_in_logs else None,
            split_statements=split,
            return_last=self.return_last,
        )
        if self.output_processor is not None:
            result = self.output_processor(result, [])
        if self.show_return_value_in_logs:
            self.log.info("Result: %s", result)
        return result


SQLOperator = SQLExecuteQueryOperator
"""Alias that tutorials use; Airflow's name is SQLExecuteQueryOperator."""


class SqliteOperator(SQLExecuteQueryOperator):
    """Airflow 1 and 2's name of SQLExecuteQueryOperator for SQLite, with ``sqlite_conn_id``."""

    default_conn_id = "sqlite_default"

    def __init__(self, *, sqlite_conn_id: str = "sqlite_default", **kwargs: Any) -> None:
        super().__init__(**{"conn_id": sqlite_conn_id, **kwargs})


class PostgresOperator(SQLExecuteQueryOperator):
    """Airflow 1 and 2's name of SQLExecuteQueryOperator for PostgreSQL, with ``postgres_conn_id``."""

    default_conn_id = "postgres_default"

    def __init__(self, *, postgres_conn_id: str = "postgres_default", **kwargs: Any) -> None:
        super().__init__(**{"conn_id": postgres_conn_id, **kwargs})
