"""Notebooks as text, for tests."""

from __future__ import annotations

import json
from typing import Any


def notebook(*cells: str, outputs: bool = False, prose: str = "") -> str:
    """A notebook of these code cells, as Jupyter saves it; ``outputs`` and ``prose`` are what should not matter."""
    shown: list[Any] = [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}] if outputs else []
    raw: list[dict[str, Any]] = []
    for number, source in enumerate(cells):
        if prose:
            raw.append({"cell_type": "markdown", "metadata": {}, "source": [prose]})
        code = {"execution_count": number if outputs else None, "outputs": shown}
        raw.append({"cell_type": "code", "metadata": {}, "source": source.splitlines(keepends=True), **code})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": raw, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}, indent=1)
