"""The operator that does nothing: a node where branches start or join."""

from __future__ import annotations

from typing import Any

from nbflow.authoring.operator import BaseOperator


class EmptyOperator(BaseOperator):
    """Does nothing. If it has no callbacks, the scheduler marks it as success without starting a process."""

    ui_color = "#e8f7e4"

    def execute(self, context: Any) -> None:
        """Do nothing."""
