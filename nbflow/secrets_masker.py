"""Masking of secrets in all output.

A secret is masked verbatim and in the forms that programs print: URL-quoted, base64 (also inside longer text, as in a
basic-auth header), JSON- and Python-escaped, HTML, hex, and line by line. No half of a secret may remain: all
occurrences of all forms are found, overlapping ones are merged, and each is replaced by ``***``.

Short secrets
-------------
Masking every occurrence of a value shorter than :data:`MIN_CHARACTERS` (a password ``a``) would make a log unreadable.
A shorter value is masked only after ``password=`` and other sensitive names, in a URL's login, or (from
:data:`MIN_WORD_CHARACTERS` on) as a whole word.

Streams
-------
A stream arrives in chunks that may split a secret anywhere. :class:`StreamMasker` holds back the tail that could be the
start of a secret: an ordinary line passes at once. Its output does not depend on the chunks (a property test), because
whether a character is masked depends only on

* the occurrences that cover it. An occurrence that is not complete yet starts in the held-back tail.
* for a short secret, the :data:`CONTEXT_CHARACTERS` before it, which are kept, and the character after it. A complete
  short secret at the end of the text is held back until that character arrives.

So every occurrence is judged by itself: a regular expression over the whole text would prefer one of two overlapping
occurrences, and prefer differently when the text is cut.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import html
import json
import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from nbflow.connections import Connection

MASK = "***"
#: Secrets of at least this many characters are masked at every occurrence.
MIN_CHARACTERS = 5
MIN_WORD_CHARACTERS = 3
#: Maximum length of the context before a short secret (``password = "``), which a stream must therefore keep.
CONTEXT_CHARACTERS = 48

#: A name that contains one of these words names a secret (Airflow's list, and "credential").
SENSITIVE_WORDS = (
    "access_token", "api_key", "apikey", "authorization", "credential", "keyfile_dict", "passphrase", "passwd",
    "password", "private_key", "secret", "service_account", "token",
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------- sensitive names


def is_sensitive_name(name: str, more: Iterable[str] = ()) -> bool:
    """Return whether a field of this name contains a secret; ``more``: the words of [core] sensitive_var_conn_names."""
    words = (*SENSITIVE_WORDS, *filter(None, map(_normalized, more)))
    normalized = _normalized(name)
    return any(word in normalized for word in words)


def _normalized(name: str) -> str:
    return name.strip().lower().replace("-", "_")


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
        if isinstance(content, str) and content.lstrip()[:1] in ("{", "["):  # a service account's key file, as text
            with contextlib.suppress(ValueError):
                yield from sensitive_values(json.loads(content), more, inside=True)


def _escaped(secret: str) -> Iterator[str]:
    """Yield the secret verbatim, and as escaped in URLs, HTML, JSON and Python."""
    raw = secret.encode(errors="surrogatepass")
    yield from (secret, quote(raw, safe=""), quote(raw), quote_plus(raw), html.escape(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (repr(secret)[1:-1], repr(raw)[2:-1])


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret in the forms that programs print. The caller drops forms that are too short."""
    raw = secret.encode(errors="surrogatepass")
    yield from _escaped(secret)
    yield raw.hex()
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
        if secrets:
            self.add(*secrets)

    def copy(self) -> Masker:
        """A masker that knows the same secrets, and learns others by itself."""
        copy = Masker(sensitive_names=self._names)
        with self._lock:
            copy._long, copy._short, copy.forms = self._long, self._short, self.forms
            copy._longest, copy._starts = self._longest, self._starts
        return copy

    def add(self, *secrets: str) -> None:
        """Mask these from now on."""
        if not secrets:
            return
        with self._lock:
            # New sets instead of changed ones: another thread may be iterating over the old.
            short = [secret for secret in secrets if 0 < len(secret) < MIN_CHARACTERS]
            self._short |= {form for secret in short for form in _escaped(secret)}
            long = (secret for secret in secrets if len(secret) >= MIN_CHARACTERS)
            self._long |= {form for secret in long for form in _forms(secret) if len(form) >= MIN_CHARACTERS}
            self.forms = tuple(sorted(self._long | self._short))
            self._longest = max(map(len, self.forms), default=0)
            self._starts = frozenset(form[0] for form in self.forms)

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

    def mask(self, text: str, *, everywhere: bool = False) -> str:
        """Return the text with every secret replaced by ``***``; ``everywhere``: short ones too, wherever they are."""
        found = self.occurrences(text)
        if everywhere:
            found += [span for form in self._short for span in _occurrences(form, text)]
        return _replace(text, _merged(found)) if found else text

    def mask_value(self, value: Any, name: str = "", *, everywhere: bool = False) -> Any:
        """Return plain data (as JSON holds it) with secrets masked, by name and by text, at any depth. ``everywhere``:
        see :meth:`mask`; numbers that are secrets are masked too."""
        if name and not (value is None or value == "" or isinstance(value, bool)) and self.is_sensitive(name):
            return MASK
        if isinstance(value, str):
            return self.mask(value, everywhere=everywhere)
        if isinstance(value, Mapping):
            return {
                self.mask_value(key, everywhere=everywhere): self.mask_value(item, str(key), everywhere=everywhere)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            items = [self.mask_value(item, everywhere=everywhere) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        if everywhere and isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in self.forms:
            return MASK  # a native template has made a number of the secret
        return value

    def occurrences(self, text: str) -> list[tuple[int, int]]:
        """Return the (start, end) of each occurrence of a secret, in any order; they may overlap."""
        found = [span for form in self._long for span in _occurrences(form, text)]
        return found + [span for form in self._short for span in _occurrences(form, text) if _is_secret(text, *span)]

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


#: What precedes a short secret: a sensitive name, or the login of a URL. Every repetition is bounded, so that the time
#: is bounded and the context has a maximum length.
_AFTER_NAME = re.compile(
    rf"(?i:{'|'.join(word.replace('_', '[_-]?') for word in SENSITIVE_WORDS)})[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']?\Z"
)
_IN_LOGIN = re.compile(r"://[^:/@\s]{0,32}:\Z")
_END_OF_CONTEXT = frozenset("\"':=")


def _is_secret(text: str, start: int, end: int) -> bool:
    """Return whether the occurrence of a short secret at ``text[start:end]`` is the secret, and not part of a word."""
    before, after = text[start - 1 : start], text[end : end + 1]
    word_follows = after.isalnum() or after == "_"
    if word_follows:
        return False
    if end - start >= MIN_WORD_CHARACTERS and not (before.isalnum() or before == "_"):
        return True
    if before not in _END_OF_CONTEXT and not before.isspace():
        return False
    context = text[max(0, start - CONTEXT_CHARACTERS) : start]
    return bool(_AFTER_NAME.search(context) or (after == "@" and _IN_LOGIN.search(context)))


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
        """The stream has ended: release everything."""
        self._buffer += self._decoder.decode(b"", final=True)
        return self.release()

    @property
    def holding(self) -> bool:
        """Whether text is held back, because it could be the start of a secret."""
        return bool(self._buffer)

    def release(self) -> str:
        """Release the held-back text although more may follow."""
        return self._release(len(self._buffer))

    def _release(self, cut: int) -> str:
        """Release ``_buffer[:cut]``, masked. A secret that crosses the cut is released as ``***`` now and covers the
        rest."""
        if cut == 0:
            return ""
        offset = len(self._released)
        found = [
            (start - offset, end - offset) for start, end in self._masker.occurrences(self._released + self._buffer)
        ]
        # An occurrence that starts at the cut or later is judged again when the text that follows it has arrived.
        spans = [(max(start, 0), end) for start, end in found if start < cut and end > 0]
        if self._covered:
            spans.append((0, self._covered))
        shown: list[str] = []
        at, covered = 0, 0
        for start, end in _merged(spans):
            shown.append(self._buffer[at:start])
            if start > 0 or not self._covered:
                shown.append(MASK)
            at, covered = min(end, cut), max(end - cut, 0)
        shown.append(self._buffer[at:cut])
        self._released = (self._released + self._buffer[:cut])[-CONTEXT_CHARACTERS:]
        self._buffer, self._covered = self._buffer[cut:], covered
        return "".join(shown)
