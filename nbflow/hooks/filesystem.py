"""Folders of this machine, named by a connection."""

from __future__ import annotations

from pathlib import Path

from nbflow.errors import ConnectionNotFound
from nbflow.hooks.base import BaseHook


class FSHook(BaseHook):
    """The folder in the ``path`` of a connection's extra. Without a connection ``fs_default`` it is ``/``."""

    conn_name_attr = "fs_conn_id"
    default_conn_name = "fs_default"
    conn_type = "fs"
    hook_name = "File (path)"

    def __init__(self, fs_conn_id: str = default_conn_name) -> None:
        self.fs_conn_id = fs_conn_id

    def get_conn(self) -> None:
        """Nothing to connect to."""

    def get_path(self) -> str:
        """The folder, absolute or as the connection gives it."""
        try:
            return str(self.get_connection(self.fs_conn_id).extra_dejson.get("path") or "")
        except ConnectionNotFound:
            if self.fs_conn_id != self.default_conn_name:
                raise
            return "/"

    def test_connection(self) -> tuple[bool, str]:
        """Whether the folder is there, and a message for people."""
        path = self.get_path()
        if not path:
            return False, "File path is undefined: give it in the connection's extra, as path"
        return (True, f"Path {path} is existing") if Path(path).exists() else (False, f"Path {path} does not exist")


FileSystemHook = FSHook
"""A name that courses use; Airflow's is FSHook."""
