"""Reads the JSON files that commands import."""

from __future__ import annotations

import json
from typing import Any

from nbflow.errors import NbflowError
from nbflow.yaml_files import read_text


def read_json(file: str) -> dict[str, Any]:
    """Read a file that contains one JSON object. Raises NbflowError with the position of the error."""
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise NbflowError(f"{file} is not valid JSON: {error}.") from None
    except RecursionError:
        raise NbflowError(f"{file} is nested too deeply.") from None
    if not isinstance(content, dict):
        raise NbflowError(f"{file} must contain a JSON object.")
    return content
