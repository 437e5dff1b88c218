"""Files that hold secrets."""

from __future__ import annotations

import os
import sys

from nbflow.errors import NbflowError


def write_private_text(path: str, text: str) -> bool:
    """Write ``text`` to a file of mode 0600, whole or not at all; "-" is stdout. False if there is no file."""
    if path in ("-", "/dev/stdout"):
        sys.stdout.write(text)
        return False
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError as fault:
        raise NbflowError(f"{path} cannot be written: {fault.strerror}.") from None
    return True
