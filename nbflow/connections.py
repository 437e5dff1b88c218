"""Connections: the fields of a service's address, as a URI, as JSON and in ``repr``, which shows no secret.

:func:`nbflow.secrets_backends.get_connection` looks a connection up by its id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from nbflow.errors import did_you_mean
from nbflow.secrets_masker import MASK, sensitive_values

#: Query key of a URI that holds the whole ``extra`` as JSON, where plain ``?a=b`` pairs cannot express it.
EXTRA_KEY = "__extra__"


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach a service. ``extra`` is the text of a JSON object (a dict is accepted) or None.

    ``port`` may be text; ``uri=`` fills the other fields. Raises ``ValueError`` for a port that is not a number or
    an extra that is not a JSON object.
    """

    conn_id: str | None = None
    conn_type: str | None = None
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    port: int | None = None
    extra: str | None = None
    uri: InitVar[str | None] = None

    def __post_init__(self, uri: str | None) -> None:
        if uri is not None:
            for name, value in _split_uri(uri, literal=True).items():
                object.__setattr__(self, name, value)
        else:
            object.__setattr__(self, "password", self.password or None)
        object.__setattr__(self, "port", _port(self.port))
        object.__setattr__(self, "extra", _extra(self.extra, self.conn_id))

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """``extra`` as a dict; empty when there is none."""
        return json.loads(self.extra) if self.extra else {}

    @classmethod
    def from_uri(cls, uri: str, conn_id: str | None = None, *, literal: bool = False) -> Connection:
        """Read a URI, as Airflow 3's metastore does: ``?retries=3`` becomes the number 3.

        With ``literal`` values stay text and an empty password stays empty text, as for task code and in the
        environment."""
        return cls(conn_id=conn_id, uri=uri) if literal else cls(conn_id=conn_id, **_split_uri(uri, literal=False))

    @classmethod
    def from_json(cls, text: str, conn_id: str | None = None) -> Connection:
        """Read a JSON object of the fields. Raises ``ValueError`` for bad JSON, ``TypeError`` for other keys."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise TypeError(f"A connection's JSON is an object with conn_type, host, ...; this is a {_kind(content)}.")
        known = {spec.name for spec in fields(cls)} | {"uri"}
        for key in content:
            if key not in known:
                raise TypeError(f"A connection has no field {key!r}.{did_you_mean(key, known)}")
        if content.get("conn_type"):
            content["conn_type"] = normalize_conn_type(content["conn_type"])
        return cls(**{"conn_id": conn_id, **content})

    def get_uri(self) -> str:
        """Return the URI that ``from_uri`` reads back. It holds the password: never log it."""
        scheme = f"{self.conn_type.lower().replace('_', '-')}://" if self.conn_type else "//"
        inner, host = "", self.host or ""
        if "://" in host:
            protocol, _, rest = host.partition("://")
            if protocol != self.conn_type:  # otherwise http://http://... would be read as one protocol
                inner, host = f"{protocol}://", rest
        credentials = quote(self.login or "", safe="")
        if self.password is not None:
            credentials += f":{quote(self.password, safe='')}"
        place = quote(host, safe="")
        if self.port:  # Airflow leaves out port 0 too
            # A bare ":80" would be read as a password: "@:80" states an empty login.
            place += f":{self.port}" if place or credentials else f"@:{self.port}"
        path = f"/{quote(self.schema, safe='')}" if self.schema else ""
        return f"{scheme}{inner}{credentials}{'@' if credentials else ''}{place}{path}{self._query()}"

    def _query(self) -> str:
        if self.extra is None:
            return ""
        extra = self.extra_dejson
        start = "?" if self.schema else "/?"
        query = urlencode(extra)
        if query and dict(parse_qsl(query, keep_blank_values=True)) == extra:
            return start + query
        return start + urlencode({EXTRA_KEY: self.extra})

    def __repr__(self) -> str:
        """Every field, with its secrets masked."""
        masked = self.masked()
        shown = {spec.name: getattr(masked, spec.name) for spec in fields(self)}
        shown["extra"] = masked.extra_dejson if masked.extra else None
        return f"Connection({', '.join(f'{name}={value!r}' for name, value in shown.items() if value is not None)})"

    def masked(self) -> Connection:
        """The connection with ``***`` for its password and for each value of ``extra``: any may be a secret."""
        extra = json.dumps(dict.fromkeys(self.extra_dejson, MASK)) if self.extra else None
        return replace(self, password=MASK if self.password else None, extra=extra, uri=None)

    def secrets(self, more: Iterable[str] = ()) -> list[str]:
        """The values to mask in all output: the password, and extras with sensitive names. ``more``: the words of
        [core] sensitive_var_conn_names."""
        return [*([self.password] if self.password else []), *sensitive_values(self.extra_dejson, more)]


def normalize_conn_type(text: str) -> str:
    """``postgresql`` is ``postgres``; dashes, which a URI's scheme needs, are underscores."""
    return {"postgresql": "postgres"}.get(text, text.replace("-", "_"))


def _port(port: Any) -> int | None:
    if port is None or port == "":
        return None
    try:
        return int(port)
    except (TypeError, ValueError):
        raise ValueError(f"Expected integer value for `port`, but got {port!r} instead.") from None


def _extra(extra: Any, conn_id: str | None) -> str | None:
    if extra is None or extra == "":
        return None
    text = extra if isinstance(extra, str) else json.dumps(extra)
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError(f"The extra of connection {conn_id} is not JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"The extra of connection {conn_id} is JSON, but a {_kind(content)} and not an object.")
    return text


def _kind(content: Any) -> str:
    return {list: "list", str: "text", bool: "truth value", type(None): "null"}.get(type(content), "number")


def _split_uri(uri: str, *, literal: bool) -> dict[str, Any]:
    """Return the fields of a URI. A URI without ``type://`` is read as Airflow reads it."""
    levels = uri.count("://")
    if levels > 2:
        raise ValueError(
            "A connection's URI contains `://` at most twice (the second one for a host like https://...)."
        )
    scheme = urlsplit(uri).scheme
    rest = uri.replace(f"{scheme}://", "" if levels == 2 else "//")
    if levels == 2 and ("@" in rest.partition("://")[0] or ":" in rest.partition("://")[0]):
        raise ValueError("In a URI with two `://`, the login stands after the second one.")
    parts = urlsplit(rest)
    host = _host(parts.hostname, parts.netloc)
    password = unquote(parts.password) if parts.password else parts.password
    return {
        "conn_type": normalize_conn_type(scheme),
        "host": f"{parts.scheme}://{host}" if levels == 2 else host,
        "login": unquote(parts.username) if parts.username else parts.username,
        "password": password,
        "schema": unquote(parts.path[1:]),
        "port": parts.port,
        "extra": _extra_of_query(parts.query, literal=literal),
    }


def _host(hostname: str | None, netloc: str) -> str:
    host = unquote(hostname or "")
    if "/" in host:  # a URL as host: its path is case-sensitive, but urlsplit has lowered it
        host = unquote(netloc.rpartition("@")[2].partition(":")[0])
    return host


def _extra_of_query(query: str, *, literal: bool) -> str | None:
    if not query:
        return None
    pairs: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if EXTRA_KEY in pairs:
        return str(pairs[EXTRA_KEY])
    return json.dumps(pairs if literal else {key: _typed(value) for key, value in pairs.items()})


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
