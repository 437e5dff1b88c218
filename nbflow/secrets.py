"""Secrets: encrypted at rest, and masked in all output.

**At rest** (``SecretBox``). Fernet (AES-CBC with an HMAC) rejects tampered text. With several keys, newest first, the
first encrypts, all decrypt, and ``rotate`` re-encrypts with the first. Without a configured key, one is generated in
``{home}/fernet.key`` (mode 0600); a key file that others can read is refused. There is no fallback to plain text.

**In text** (``Masker``, ``StreamMasker``). A secret is masked verbatim and in the forms that programs print:
URL-quoted, base64 (also inside longer text, as in a basic-auth header), JSON- and Python-escaped, HTML, hex, and line
by line. No half of a secret may remain: all matches of all forms are found, overlapping ones are merged, and each is
replaced by ``***``.

A stream arrives in chunks that may split a secret anywhere. ``StreamMasker`` therefore buffers exactly the tail that
could be the start of a secret: an ordinary line passes at once. Its output does not depend on the chunk boundaries (a
property test).

Masking every occurrence of a value shorter than ``MIN_CHARACTERS`` (a password ``a``) would make a log unreadable.
Short values are masked only after ``password=`` and other sensitive names, in a URL's login, or (from
``MIN_WORD_CHARACTERS`` on) as whole words.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
import os
import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from nbflow.config import write_private
from nbflow.errors import SecretsError

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.connections import Connection

MASK = "***"
#: Secrets of at least this many characters are masked at every occurrence.
MIN_CHARACTERS = 5
MIN_WORD_CHARACTERS = 3
#: Maximum length of the context before a short secret (``password = "``), which a stream must therefore keep.
CONTEXT_CHARACTERS = 48
KEY_FILE = "fernet.key"

#: A name that contains one of these words names a secret (Airflow's list, and "credential").
SENSITIVE_WORDS = (
    "access_token", "api_key", "apikey", "authorization", "credential", "keyfile_dict", "passphrase", "passwd",
    "password", "private_key", "secret", "service_account", "token",
)  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- at rest


class SecretBox:
    """Encrypts and decrypts short texts with one or more Fernet keys, newest first."""

    def __init__(self, keys: Iterable[str]) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # 30 ms: imported only where secrets are stored

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
        from cryptography.fernet import InvalidToken

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


# ----------------------------------------------------------------------------------------------------- sensitive names


def is_sensitive_name(name: str, more: Iterable[str] = ()) -> bool:
    """Return whether a field of this name contains a secret; ``more``: the words of [core] sensitive_var_conn_names."""
    lowered = name.strip().lower().replace("-", "_")
    return any(word in lowered for word in SENSITIVE_WORDS) or any(word.strip().lower() in lowered for word in more)


def sensitive_values(content: Any, more: Iterable[str] = (), *, inside: bool = False) -> Iterator[str]:
    """Yield the texts (and numbers, as text) at any depth whose own name, or a parent's name, is sensitive."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from sensitive_values(value, more, inside=inside or is_sensitive_name(str(name), more))
    elif isinstance(content, (list, tuple, set, frozenset)):
        for value in content:
            yield from sensitive_values(value, more, inside=inside)
    elif inside and content is not None and not isinstance(content, bool) and str(content):
        yield str(content)


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret in the forms that programs print. The caller drops forms that are too short."""
    raw = secret.encode(errors="surrogatepass")
    yield secret
    yield from (quote(raw, safe=""), quote(raw), quote_plus(raw), html.escape(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (repr(raw)[2:-1], raw.hex())
    for shift in range(3):
        # Inside other bytes, base64 text depends on the alignment to groups of three bytes. Only the characters that
        # encode bits of the secret alone are the same in any context: cut the others off at both ends.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            start = (0, 2, 3)[shift]
            end = (shift + len(raw)) * 8 // 6
            yield encode(b"\0" * shift + raw)[start:end].decode()
    if "\n" in secret:
        for line in secret.splitlines():
            yield line.strip()


class Masker:
    """Masks the secrets of one attempt, or of one process, in text and values. Thread-safe."""

    def __init__(self, secrets: Iterable[str] = (), *, sensitive_names: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._names = tuple(sensitive_names)
        self._long: frozenset[str] = frozenset()
        self._short: frozenset[str] = frozenset()
        #: all forms to search for, sorted
        self.forms: tuple[str, ...] = ()
        self._longest = 0
        self._starts: frozenset[str] = frozenset()
        self._short_patterns: tuple[re.Pattern[str], ...] = ()
        if secrets:
            self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Mask these from now on."""
        if not secrets:
            return
        with self._lock:
            # New sets instead of changed ones: another thread may be iterating over the old.
            self._short |= {secret for secret in secrets if 0 < len(secret) < MIN_CHARACTERS}
            long = (secret for secret in secrets if len(secret) >= MIN_CHARACTERS)
            self._long |= {form for secret in long for form in _forms(secret) if len(form) >= MIN_CHARACTERS}
            self.forms = tuple(sorted(self._long | self._short))
            self._longest = max(map(len, self.forms), default=0)
            self._starts = frozenset(form[0] for form in self.forms)
            self._short_patterns = _short_patterns(self._short)

    def is_sensitive(self, name: str) -> bool:
        """Return whether a field of this name contains a secret."""
        return is_sensitive_name(name, self._names)

    def add_from(self, content: Any) -> None:
        """Mask the values of sensitive names in a value (an extra, a variable's JSON)."""
        self.add(*sensitive_values(content, self._names))

    def add_variable(self, key: str, value: str) -> None:
        """Mask the secrets of a variable. If its key is sensitive: the stored text and, if that is JSON, each value in
        it. Otherwise, if it is JSON: the values of sensitive names."""
        try:
            content = json.loads(value)
        except ValueError:
            content = value
        self.add_from({key: content})
        if isinstance(content, dict | list) and self.is_sensitive(key):
            self.add(value)

    def add_connection(self, connection: Connection) -> None:
        """Mask the secrets of a connection: its password, and the values of sensitive names in its extra."""
        self.add(*connection.secrets(self._names))

    def mask(self, text: str) -> str:
        """Return the text with every secret replaced by ``***``."""
        spans = self.spans(text)
        return _replace(text, spans) if spans else text

    def mask_value(self, value: Any, name: str = "") -> Any:
        """Return plain data (as JSON holds it) with secrets masked, by name and by text, at any depth."""
        if name and not (value is None or value == "" or isinstance(value, bool)) and self.is_sensitive(name):
            return MASK
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask_value(key): self.mask_value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self.mask_value(item) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        return value

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the (start, end) spans of secrets, in order, overlapping ones merged."""
        spans = [span for form in self._long for span in _occurrences(form, text)]
        if any(secret in text for secret in self._short):  # the patterns are 50 times slower than this check
            for pattern in self._short_patterns:
                spans += [match.span("secret") for match in pattern.finditer(text)]
        return _merged(spans)

    def tail(self, text: str) -> int:
        """Return the index from which ``text`` could be the start of an incomplete secret."""
        forms = self.forms
        for start in range(max(0, len(text) - self._longest), len(text)):
            if text[start] not in self._starts:
                continue
            rest = text[start:]
            at = bisect_left(forms, rest)
            # A complete short secret is buffered too: only the next character shows whether it is a whole word.
            if rest in self._short or any(form.startswith(rest) and form != rest for form in forms[at : at + 2]):
                return start
        return len(text)


def _occurrences(form: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + 1)


def _short_patterns(secrets: frozenset[str]) -> tuple[re.Pattern[str], ...]:
    """Match short secrets where they are whole words, or follow a sensitive name or a URL's login.

    Every repetition is bounded, so the time is linear in the text; look-ahead keeps a match from consuming the start of
    the next.
    """
    if not secrets:
        return ()
    any_of = "|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True))
    names = "|".join(word.replace("_", "[_-]?") for word in SENSITIVE_WORDS)
    patterns = [
        rf"(?=(?i:{names})[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']?(?P<secret>{any_of})(?!\w))",
        rf"(?=://[^:/@\s]{{0,32}}:(?P<secret>{any_of})@)",
    ]
    if words := [secret for secret in sorted(secrets, key=len, reverse=True) if len(secret) >= MIN_WORD_CHARACTERS]:
        patterns.append(rf"(?<!\w)(?=(?P<secret>{'|'.join(map(re.escape, words))})(?!\w))")
    return tuple(map(re.compile, patterns))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _replace(text: str, spans: list[tuple[int, int]]) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], MASK]
        at = end
    return "".join([*pieces, text[at:]])


class StreamMasker:
    """Masks text that arrives in chunks; bytes are decoded as UTF-8, invalid ones replaced.

    ``feed`` returns the text that is safe to show, ``flush`` the rest; joined, they equal ``Masker.mask`` of the whole.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._released = ""  # the end of the released text, unmasked: the context of a short secret
        self._buffer = ""
        self._covered = 0  # leading characters of _buffer that belong to a secret whose *** was already released

    def feed(self, chunk: str | bytes) -> str:
        self._buffer += self._decoder.decode(chunk) if isinstance(chunk, bytes) else chunk
        return self._release(self._masker.tail(self._buffer))

    def flush(self) -> str:
        self._buffer += self._decoder.decode(b"", final=True)
        return self._release(len(self._buffer))

    def _release(self, cut: int) -> str:
        """Release ``_buffer[:cut]``, masked. A secret that crosses the cut is released as ``***`` now and covers the
        rest."""
        if cut == 0:
            return ""
        offset = len(self._released)
        spans = [
            (max(start - offset, 0), end - offset) for start, end in self._masker.spans(self._released + self._buffer)
        ]
        if self._covered:
            spans.append((0, self._covered))
        spans = _merged([(start, end) for start, end in spans if end > 0])
        shown: list[str] = []
        at, covered = 0, 0
        for start, end in spans:
            if start >= cut:
                break
            shown.append(self._buffer[at:start])
            if start > 0 or not self._covered:
                shown.append(MASK)
            at, covered = min(end, cut), max(end - cut, 0)
        shown.append(self._buffer[at:cut])
        self._released = (self._released + self._buffer[:cut])[-CONTEXT_CHARACTERS:]
        self._buffer, self._covered = self._buffer[cut:], covered
        return "".join(shown)
