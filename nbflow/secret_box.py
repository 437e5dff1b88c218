"""Secrets at rest: encrypted with Fernet (AES-CBC with an HMAC), which rejects tampered text.

With several keys, newest first, the first encrypts, all decrypt, and ``rotate`` re-encrypts with the first. Without a
configured key, one is generated in ``{home}/fernet.key`` (mode 0600); a key file that others can read is refused. There
is no fallback to plain text.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from nbflow.config import write_private
from nbflow.errors import SecretsError

if TYPE_CHECKING:
    from nbflow.config import Settings

KEY_FILE = "fernet.key"


class SecretBox:
    """Encrypts and decrypts short texts with one or more Fernet keys, newest first."""

    def __init__(self, keys: Iterable[str]) -> None:
        try:
            fernets = [Fernet(key.strip()) for key in keys]
        except ValueError:
            raise SecretsError(
                "[core] fernet_key is not a Fernet key.",
                hint="Create one with cryptography's Fernet.generate_key(), or leave it empty: nbflow creates one.",
            ) from None
        if not fernets:
            raise SecretsError("There is no Fernet key.")
        self._fernet = MultiFernet(fernets)

    @classmethod
    def of(cls, settings: Settings) -> SecretBox:
        """Use the configured keys, else the key file of the home, which is created if missing."""
        configured = [key for key in settings.core.fernet_key.split(",") if key.strip()]
        return cls(configured or read_key_file(settings.home / KEY_FILE))

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text; raise ``SecretsError`` if no key fits or the stored text was modified."""
        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except (InvalidToken, UnicodeError):
            raise SecretsError(
                "A stored secret cannot be decrypted with the configured key(s).",
                hint="Append the key that encrypted it to [core] fernet_key.",
            ) from None

    def rotate(self, stored: str) -> str:
        """Return the same secret encrypted with the newest key."""
        return self.encrypt(self.decrypt(stored))


def new_key() -> str:
    """Return a new Fernet key."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def read_key_file(path: Path) -> list[str]:
    """Return the keys of the file, one a line, newest first; create the file with a new key if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, f"{new_key()}\n".encode())
    if path.stat().st_mode & 0o077:
        raise SecretsError(f"{path} is readable by other users.", hint=f"Run: chmod 600 {path}")
    return [line for line in path.read_text().splitlines() if line.strip()]
