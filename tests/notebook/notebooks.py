"""Notebooks as text, for tests."""

from __future__ import annotations

import json
from typing import Any


def notebook(*cells: str, outputs: bool = False, prose: str = "") -> str:
    """A notebook with these code cells, as Jupyter saves it. ``outputs``: with execution counts and outputs; ``prose``:
    with this markdown cell before each code cell."""
    saved: list[Any] = [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}] if outputs else []
    raw: list[dict[str, Any]] = []
    for number, source in enumerate(cells):
        if prose:
            raw.append({"cell_type": "markdown", "metadata": {}, "source": [prose]})
        code = {"execution_count": number if outputs else None, "outputs": saved}
        raw.append({"cell_type": "code", "metadata": {}, "source": source.splitlines(keepends=True), **code})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": raw, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}, indent=1)
