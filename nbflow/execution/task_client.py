"""The client of the task API: the runtime that turns calls of a task into requests, and responses into values.

:class:`TaskClient` is used with two transports: in a child, requests go over a socket; in the calling process, they go
directly to a :class:`~nbflow.execution.task_api.TaskApi`. It is also the *provider* of connections and variables
(:mod:`nbflow.secrets_backends`) for user code in the same process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nbflow import errors, serde
from nbflow.authoring.workload import Progress
from nbflow.connections import Connection
from nbflow.core.snapshot import Run
from nbflow.execution import protocol

if TYPE_CHECKING:
    from nbflow.execution.protocol import Channel
    from nbflow.secrets_masker import Masker

SendRequest = Callable[[str, Mapping[str, Any]], Any]
"""(kind, JSON arguments) -> JSON response; raises the error that the task API raised."""

DEFAULT_XCOM_BYTES = 4 * 1024 * 1024


def utc_now() -> datetime:
    return datetime.now(UTC)


def error_from_json(raw: Mapping[str, Any]) -> errors.NbflowError:
    """Inverse of :func:`error_to_json`: an error of the same class if it is one of :mod:`nbflow.errors`."""
    message, hint = str(raw.get("message", "")), str(raw.get("hint", ""))
    cls = vars(errors).get(str(raw.get("type")))
    if isinstance(cls, type) and issubclass(cls, errors.NbflowError):
        with contextlib.suppress(TypeError):  # a few take other arguments; the task API raises none of them
            return cls(message, hint=hint)
    return errors.NbflowError(message, hint=hint)


def error_to_json(error: Exception) -> dict[str, str]:
    if isinstance(error, errors.NbflowError):
        message = str(error.args[0]) if error.args else ""
        return {"type": type(error).__name__, "message": message, "hint": error.hint}
    return {"type": "NbflowError", "message": f"{type(error).__name__}: {error}"}


def request_over_channel(channel: Channel, attempt_id: str | None, kind: str, args: Mapping[str, Any]) -> Any:
    """Send one request to the task API and return its response. Raises the error that the task API raised."""
    channel.send({"request": kind, "args": dict(args), "attempt": attempt_id})
    response, _ = channel.receive()
    if "error" in response:
        raise error_from_json(response["error"])
    return response.get("response")


class TaskClient:
    """A :class:`nbflow.authoring.workload.Runtime` over ``request``. Secrets in responses are added to
    ``masker``."""

    def __init__(
        self,
        request: SendRequest,
        *,
        now: Callable[[], datetime] = utc_now,
        masker: Masker | None = None,
        max_xcom_bytes: int = DEFAULT_XCOM_BYTES,
    ) -> None:
        self._request = request
        self._now = now
        self.masker = masker
        self.progress = Progress()
        self._max_xcom_bytes = max_xcom_bytes

    def now(self) -> datetime:
        return self._now()

    # --- XComs and rendered fields
    def xcom_push(self, key: str, value: Any) -> None:
        root = "return value" if key == "return_value" else f"XCom {key!r}"
        text = serde.dumps(value, root=root, max_bytes=self._max_xcom_bytes)
        self._request("xcom_push", {"key": key, "value": text})

    def xcom_get(
        self,
        task_ids: Sequence[str],
        key: str,
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
        prior_dates: bool = False,
    ) -> list[tuple[str, int, Any]]:
        args = {"task_ids": list(task_ids), "key": key, "dag_id": dag_id, "run_id": run_id}
        rows = self._request("xcom_get", {**args, "map_index": map_index, "prior_dates": prior_dates})
        return [(task_id, index, serde.loads(text)) for task_id, index, text in rows]

    def put_rendered(self, fields: Mapping[str, Any]) -> None:
        self._request("put_rendered", {"fields": dict(fields)})

    # --- variables and connections
    def get_variable(self, key: str) -> str | None:
        value: str | None = self._request("get_variable", {"key": key})
        if value is not None and self.masker is not None:
            self.masker.add_variable(key, value)
        return value

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self._request("set_variable", {"key": key, "value": value, "description": description})

    def delete_variable(self, key: str) -> None:
        self._request("delete_variable", {"key": key})

    def get_connection(self, conn_id: str) -> Connection | None:
        raw = self._request("get_connection", {"conn_id": conn_id})
        if raw is None:
            return None
        connection: Connection = Connection(**raw)
        if self.masker is not None:
            self.masker.add_connection(connection)
        return connection

    # --- runs
    def previous_success(self) -> Run | None:
        return _run(self._request("previous_success", {}))

    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], *, run_id: str | None = None) -> list[str]:
        dates = [date.isoformat() for date in logical_dates]
        states: list[str] = self._request("run_states", {"dag_id": dag_id, "logical_dates": dates, "run_id": run_id})
        return states

    def task_states(
        self, dag_id: str, task_ids: Sequence[str], logical_dates: Sequence[datetime]
    ) -> list[tuple[str, int, datetime, str]]:
        dates = [date.isoformat() for date in logical_dates]
        args = {"dag_id": dag_id, "task_ids": list(task_ids), "logical_dates": dates}
        return [
            (task_id, index, datetime.fromisoformat(date), state)
            for task_id, index, date, state in self._request("task_states", args)
        ]

    def latest_run(self, dag_id: str) -> Run | None:
        return _run(self._request("latest_run", {"dag_id": dag_id}))

    def next_interval_after(self, moment: datetime) -> tuple[datetime, datetime] | None:
        interval = self._request("next_interval_after", {"moment": moment.isoformat()})
        return None if interval is None else (datetime.fromisoformat(interval[0]), datetime.fromisoformat(interval[1]))

    def trigger_dag(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        args = {
            "dag_id": dag_id,
            "run_id": run_id,
            "logical_date": logical_date and logical_date.isoformat(),
            "conf": serde.encode(dict(conf or {}), "conf"),
            "reset": reset,
        }
        run: Run = protocol.unpack(Run, self._request("trigger_dag", args))
        return run


def _run(raw: Any) -> Run | None:
    return None if raw is None else protocol.unpack(Run, raw)
