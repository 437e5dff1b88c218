"""Files that commands read: one JSON object, or one YAML mapping."""

from __future__ import annotations

import json
from typing import Any

from nbflow.errors import NbflowError


def read_json(file: str) -> dict[str, Any]:
    """A file that holds one JSON object. Raises NbflowError that names the fault's place."""
    from nbflow.yaml_files import read_text

    try:
        content = json.loads(read_text(file))
    except ValueError as fault:
        raise NbflowError(f"{file} is not JSON: {fault}.") from None
    except RecursionError:
        raise NbflowError(f"{file}: nested too deep.") from None
    if not isinstance(content, dict):
        raise NbflowError(f"{file} must hold a JSON object.")
    return content
