"""The operator that does nothing: a place where paths meet or begin."""

from __future__ import annotations

from typing import Any

from nbflow.authoring.operator import BaseOperator


class EmptyOperator(BaseOperator):
    """Does nothing. Without callbacks the scheduler ends it itself, and no process is started."""

    ui_color = "#e8f7e4"

    def execute(self, context: Any) -> None:
        """Nothing."""
