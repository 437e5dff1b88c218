"""Local folders, named by a connection."""

from __future__ import annotations

from pathlib import Path

from nbflow.errors import ConnectionNotFound
from nbflow.hooks.base import BaseHook


class FSHook(BaseHook):
    """The folder in ``path`` of a connection's extra. If the connection ``fs_default`` does not exist, it is ``/``."""

    conn_name_attr = "fs_conn_id"
    default_conn_name = "fs_default"
    conn_type = "fs"
    hook_name = "File (path)"

    def __init__(self, fs_conn_id: str = default_conn_name) -> None:
        self.fs_conn_id = fs_conn_id

    def get_conn(self) -> None:
        """A folder needs no connection."""

    def get_path(self) -> str:
        """The folder, as the connection has it."""
        try:
            return str(self.get_connection(self.fs_conn_id).extra_dejson.get("path") or "")
        except ConnectionNotFound:
            if self.fs_conn_id != self.default_conn_name:
                raise
            return "/"

    def test_connection(self) -> tuple[bool, str]:
        """Whether the folder exists, and a message."""
        path = self.get_path()
        if not path:
            return False, "The connection has no path; set path in its extra"
        return (True, f"Path {path} exists") if Path(path).exists() else (False, f"Path {path} does not exist")


FileSystemHook = FSHook
"""Alias that tutorials use; Airflow's name is FSHook."""
