"""Waiting for files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nbflow.hooks.filesystem import FSHook
from nbflow.sensors.base import BaseSensorOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class FileSensor(BaseSensorOperator):
    """Waits for a file, or for a folder that contains a file; ``filepath`` may have glob characters.

    The path is relative to the folder of the connection ``fs_conn_id``. With ``recursive``, ``**`` matches any depth.
    With ``deferrable`` the sensor is rescheduled between two pokes.
    """

    template_fields: Sequence[str] = ("filepath", "fs_conn_id")
    ui_color = "#91818a"

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        fs_conn_id: str = "fs_default",
        recursive: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        if deferrable:
            kwargs["mode"] = "reschedule"
        super().__init__(**kwargs)
        self.filepath = os.fspath(filepath)
        self.fs_conn_id = fs_conn_id
        self.recursive = recursive

    @property
    def path(self) -> str:
        """The rendered path in the connection's folder."""
        return os.path.join(FSHook(self.fs_conn_id).get_path(), self.filepath)

    def poke(self, context: Context) -> bool:
        self.log.info("Poking for file %s", self.path)
        for path in glob.iglob(self.path, recursive=self.recursive):
            if os.path.isfile(path):
                modified = datetime.fromtimestamp(os.path.getmtime(path), UTC)
                self.log.info("Found file %s, last modified at %s", path, modified.isoformat(timespec="seconds"))
                return True
            if any(files for _, _, files in os.walk(path)):
                return True
        return False
