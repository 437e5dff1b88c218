"""The task API: the supervisor's handlers for the requests of a task, a table over the store.

Every request is handled for the :class:`~nbflow.authoring.workload.Workload` that the supervisor itself sent, never
for an identity that a child claims. Writes carry the attempt id, and the store refuses those of an attempt that is no
longer current. Arguments are JSON from a process that runs user code: arguments that do not fit are refused with an
error that is raised in the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from nbflow import serde
from nbflow.authoring.workload import Workload
from nbflow.connections import Connection
from nbflow.core.identifiers import DAG_ID, RUN_ID, XCOM_KEY, is_valid_id
from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.errors import NbflowError
from nbflow.execution import protocol
from nbflow.execution.task_client import DEFAULT_XCOM_BYTES, TaskClient, utc_now
from nbflow.secrets_backends import Provider
from nbflow.secrets_masker import Masker
from nbflow.store.base import Store

TriggerDag = Callable[..., Run]
"""(dag_id, *, run_id, logical_date, conf, reset, actor) -> the new run; raises DagNotFound, DagRunAlreadyExists ..."""
NextInterval = Callable[[Workload, datetime], tuple[datetime, datetime] | None]

PARSE_REQUESTS = frozenset({"get_variable", "get_connection"})
"""Requests that are allowed while a DAG file is loaded: reads only."""


class RequestRefused(NbflowError):
    """A request that is not allowed, or whose arguments do not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskApi:
    """Handles the requests of tries. ``secrets`` looks up connections and variables: environment first, then store."""

    store: Store
    secrets: Provider
    trigger_dag: TriggerDag | None = None
    next_interval: NextInterval | None = None
    now: Callable[[], datetime] = utc_now
    max_xcom_bytes: int = DEFAULT_XCOM_BYTES
    sensitive_names: tuple[str, ...] = ()
    """More words that mark a name as sensitive ([core] sensitive_var_conn_names)."""
    given: Masker | None = None
    """Masks what this process has given to code that it loads itself: a task of that code may print it."""

    def handle(self, workload: Workload, kind: str, args: Mapping[str, Any], *, masker: Masker | None = None) -> Any:
        """Handle a request of a try; returns the JSON response. The secrets in both are added to ``masker``. Raises
        :class:`RequestRefused`, or the handler's NbflowError."""
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise RequestRefused(f"a task cannot request {kind!r}")
        try:
            response = handler(self, workload, **args)
            _add_secrets(masker, kind, args, response)
            return response
        except (TypeError, ValueError) as error:
            if isinstance(error, NbflowError):
                raise
            raise RequestRefused(f"{kind}: {error}") from None

    def handle_parse_request(self, kind: str, args: Mapping[str, Any], *, masker: Masker | None = None) -> Any:
        """Handle a request of a DAG file that is being loaded: no attempt, and reads only. ``masker``: see
        :meth:`handle`."""
        if kind not in PARSE_REQUESTS:
            raise RequestRefused(f"a DAG file cannot request {kind!r} while it is loaded", hint="Do it inside a task.")
        try:
            response = _HANDLERS[kind](self, None, **args)
            _add_secrets(masker, kind, args, response)
            return response
        except TypeError as error:
            raise RequestRefused(f"{kind}: {error}") from None

    def masker(self) -> Masker:
        """A masker for one try."""
        return Masker(sensitive_names=self.sensitive_names) if self.given is None else self.given.copy()

    def runtime(self, workload: Workload, *, now: Callable[[], datetime] | None = None) -> TaskClient:
        """A runtime for code that runs in this process."""
        return TaskClient(
            lambda kind, args: self.handle(workload, kind, args),
            now=now or self.now,
            masker=self.masker(),
            max_xcom_bytes=self.max_xcom_bytes,
        )


def _add_secrets(masker: Masker | None, kind: str, args: Mapping[str, Any], response: Any) -> None:
    """Mask the secrets of a request and its response."""
    if masker is None:
        return
    if kind == "get_variable" and response is not None:
        masker.add_variable(args["key"], response)
    elif kind == "set_variable":
        masker.add_variable(args["key"], args["value"])
    elif kind == "get_connection" and response is not None:
        masker.add_connection(Connection(**response))


def _xcom_push(task_api: TaskApi, workload: Workload, *, key: str, value: str) -> None:
    if len(value) > task_api.max_xcom_bytes:
        raise RequestRefused(f"XCom {key!r} is {len(value):,} bytes, more than the {task_api.max_xcom_bytes:,} allowed")
    task_api.store.xcom_push(workload.attempt_id, key, value, now=task_api.now())


def _xcom_get(
    task_api: TaskApi,
    workload: Workload,
    *,
    task_ids: list[str],
    key: str,
    dag_id: str | None = None,
    run_id: str | None = None,
    map_index: int | None = None,
    prior_dates: bool = False,
) -> list[tuple[str, int, str]]:
    run = RunKey(dag_id or workload.run.dag_id, run_id or workload.run.run_id)
    if not all((is_valid_id(run.dag_id, DAG_ID), is_valid_id(run.run_id, RUN_ID), is_valid_id(key, XCOM_KEY))):
        return []  # nothing of this id exists
    xcoms = task_api.store.xcom_get(run, task_ids, key, map_index=map_index, prior_dates=prior_dates)
    return [(ti_key.task_id, ti_key.map_index, text) for ti_key, text in xcoms]


def _put_rendered(task_api: TaskApi, workload: Workload, *, fields: dict[str, Any]) -> None:
    task_api.store.put_rendered(workload.attempt_id, fields)


def _get_variable(task_api: TaskApi, workload: Workload | None, *, key: str) -> str | None:
    return task_api.secrets.get_variable(key)


def _set_variable(
    task_api: TaskApi, workload: Workload, *, key: str, value: str, description: str | None = None
) -> None:
    task_api.secrets.set_variable(key, value, description)


def _delete_variable(task_api: TaskApi, workload: Workload, *, key: str) -> None:
    task_api.secrets.delete_variable(key)


def _get_connection(task_api: TaskApi, workload: Workload | None, *, conn_id: str) -> dict[str, Any] | None:
    connection = task_api.secrets.get_connection(conn_id)
    if connection is None:
        return None
    return {field.name: getattr(connection, field.name) for field in fields(Connection)}


def _previous_success(task_api: TaskApi, workload: Workload) -> dict[str, Any] | None:
    return _pack_run(task_api.store.previous_success(workload.run.key))


def _run_states(
    task_api: TaskApi, workload: Workload, *, dag_id: str, logical_dates: list[str], run_id: str | None = None
) -> list[str]:
    if run_id is not None:
        run = task_api.store.run(RunKey(dag_id, run_id))
        return [] if run is None else [str(run.state)]
    return [str(run.state) for date in logical_dates for run in _runs_at(task_api, dag_id, date)]


def _task_states(
    task_api: TaskApi, workload: Workload, *, dag_id: str, task_ids: list[str], logical_dates: list[str]
) -> list[tuple[str, int, str, str]]:
    requested = frozenset(task_ids)
    return [
        (ti.task_id, ti.map_index, date, str(ti.state))
        for date in logical_dates
        for run in _runs_at(task_api, dag_id, date)
        for ti in task_api.store.instances(run.key)
        if ti.task_id in requested
    ]


def _latest_run(task_api: TaskApi, workload: Workload, *, dag_id: str) -> dict[str, Any] | None:
    return _pack_run(task_api.store.latest_run(dag_id, automated=False))


def _next_interval_after(task_api: TaskApi, workload: Workload, *, moment: str) -> tuple[str, str] | None:
    if task_api.next_interval is None:
        raise RequestRefused("the schedule is not available here")
    interval = task_api.next_interval(workload, datetime.fromisoformat(moment))
    return None if interval is None else (interval[0].isoformat(), interval[1].isoformat())


def _trigger_dag(
    task_api: TaskApi,
    workload: Workload,
    *,
    dag_id: str,
    run_id: str | None = None,
    logical_date: str | None = None,
    conf: Any = None,
    reset: bool = False,
) -> dict[str, Any]:
    if task_api.trigger_dag is None:
        raise RequestRefused("runs of other DAGs cannot be triggered here")
    run = task_api.trigger_dag(
        dag_id,
        run_id=run_id,
        logical_date=None if logical_date is None else datetime.fromisoformat(logical_date),
        conf=serde.decode(conf or {}),
        reset=reset,
        actor=f"task:{workload.run.dag_id}/{workload.run.run_id}/{TaskKey(workload.task_id, workload.map_index)}",
    )
    return protocol.pack(run)


def _runs_at(task_api: TaskApi, dag_id: str, date: str) -> list[Run]:
    moment = datetime.fromisoformat(date)
    return task_api.store.runs(dag_id, since=moment, until=moment)


def _pack_run(run: Run | None) -> dict[str, Any] | None:
    return None if run is None else protocol.pack(run)


#: One handler for each method of nbflow.authoring.workload.Runtime (a test compares the two).
_HANDLERS: Mapping[str, Callable[..., Any]] = {
    "xcom_push": _xcom_push,
    "xcom_get": _xcom_get,
    "put_rendered": _put_rendered,
    "get_variable": _get_variable,
    "set_variable": _set_variable,
    "delete_variable": _delete_variable,
    "get_connection": _get_connection,
    "previous_success": _previous_success,
    "run_states": _run_states,
    "task_states": _task_states,
    "latest_run": _latest_run,
    "next_interval_after": _next_interval_after,
    "trigger_dag": _trigger_dag,
}
REQUESTS = frozenset(_HANDLERS)
