"""Files that contain secrets."""

from __future__ import annotations

import os
import sys

from nbflow.errors import NbflowError


def write_private_text(path: str, text: str) -> bool:
    """Write ``text`` atomically to a file with mode 0600; "-" is stdout. Returns whether a file was written."""
    if path in ("-", "/dev/stdout"):
        sys.stdout.write(text)
        return False
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise NbflowError(f"Cannot write {path}: {error.strerror}.") from None
    return True
