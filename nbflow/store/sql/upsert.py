"""INSERT or UPDATE by primary key, in the SQL that SQLite and Postgres have in common."""

from __future__ import annotations

from sqlalchemy import Table, TextClause, bindparam, text


def upsert(table: Table, *, where: str = "") -> TextClause:
    """``INSERT ... ON CONFLICT (primary key) DO UPDATE``, with a parameter for each column.

    ``where`` (SQL over the table and ``excluded``) is the condition under which an existing row is updated.
    """
    columns = list(table.c)
    names = [column.name for column in columns]
    keys = [column.name for column in table.primary_key]
    assignments = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in keys)
    quoted = ", ".join(f'"{name}"' for name in names)
    sql = (
        f'INSERT INTO "{table.name}" ({quoted}) VALUES ({", ".join(":" + name for name in names)})'
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {assignments}{' WHERE ' + where if where else ''}"
    )
    return text(sql).bindparams(*(bindparam(column.name, type_=column.type) for column in columns))
