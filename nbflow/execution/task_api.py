"""The supervisor's side of what a task asks: a table of questions, answered from the store.

Every question comes with the :class:`~nbflow.authoring.runtime.Work` that the supervisor itself handed out, never with
what a child says about itself. Writes carry the attempt id, and the store refuses those of an attempt that is no longer
current. Arguments are JSON from user code's process: whatever does not fit is refused with an error that the task sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from nbflow import serde
from nbflow.authoring.runtime import Work
from nbflow.connections import Connection, Provider
from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.errors import NbflowError
from nbflow.execution import protocol
from nbflow.execution.task_client import DEFAULT_XCOM_BYTES, TaskClient, utc_now
from nbflow.store.base import Store

TriggerDag = Callable[..., Run]
"""(dag_id, *, run_id, logical_date, conf, reset, actor) -> the new run; raises DagNotFound, DagRunAlreadyExists ..."""
NextInterval = Callable[[Work, datetime], tuple[datetime, datetime] | None]

PARSING = frozenset({"get_variable", "get_connection"})
"""What code may ask while its DAG file is loaded: it reads, and writes nothing."""


class Refused(NbflowError):
    """A question that may not be asked here, or that makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskApi:
    """Answers what tries ask. ``secrets`` knows connections and variables (environment first, then the store)."""

    store: Store
    secrets: Provider
    trigger_dag: TriggerDag | None = None
    next_interval: NextInterval | None = None
    now: Callable[[], datetime] = utc_now
    most_xcom_bytes: int = DEFAULT_XCOM_BYTES

    def answer(self, work: Work, kind: str, args: Mapping[str, Any]) -> Any:
        """The JSON answer. Raises :class:`Refused`, or the error that the question ended in."""
        answer = _ANSWERS.get(kind)
        if answer is None:
            raise Refused(f"a task cannot ask for {kind!r}")
        try:
            return answer(self, work, **args)
        except (TypeError, ValueError) as error:
            if isinstance(error, NbflowError):
                raise
            raise Refused(f"{kind}: {error}") from None

    def answer_parsing(self, kind: str, args: Mapping[str, Any]) -> Any:
        """The same for code that is being loaded: there is no attempt, and nothing is written."""
        if kind not in PARSING:
            raise Refused(f"a DAG file cannot ask for {kind!r} while it is loaded", hint="Do it inside a task.")
        try:
            return _ANSWERS[kind](self, None, **args)
        except TypeError as error:
            raise Refused(f"{kind}: {error}") from None

    def runtime(self, work: Work, *, now: Callable[[], datetime] | None = None) -> TaskClient:
        """A runtime for code that runs in this process."""
        from nbflow.secrets import Masker

        return TaskClient(
            lambda kind, args: self.answer(work, kind, args),
            now=now or self.now,
            masker=Masker(),
            most_xcom_bytes=self.most_xcom_bytes,
        )


def _xcom_push(task_api: TaskApi, work: Work, *, key: str, value: str) -> None:
    if len(value) > task_api.most_xcom_bytes:
        raise Refused(f"XCom {key!r} is {len(value):,} bytes, more than the {task_api.most_xcom_bytes:,} allowed")
    task_api.store.xcom_push(work.attempt_id, key, value, now=task_api.now())


def _xcom_get(
    task_api: TaskApi,
    work: Work,
    *,
    task_ids: list[str],
    key: str,
    dag_id: str | None = None,
    run_id: str | None = None,
    map_index: int | None = None,
    prior_dates: bool = False,
) -> list[tuple[str, int, str]]:
    run = RunKey(dag_id or work.run.dag_id, run_id or work.run.run_id)
    found = task_api.store.xcom_get(run, task_ids, key, map_index=map_index, prior_dates=prior_dates)
    return [(where.task_id, where.map_index, text) for where, text in found]


def _put_rendered(task_api: TaskApi, work: Work, *, fields: dict[str, Any]) -> None:
    task_api.store.put_rendered(work.attempt_id, fields)


def _get_variable(task_api: TaskApi, work: Work | None, *, key: str) -> str | None:
    return task_api.secrets.get_variable(key)


def _set_variable(task_api: TaskApi, work: Work, *, key: str, value: str, description: str | None = None) -> None:
    task_api.secrets.set_variable(key, value, description)


def _delete_variable(task_api: TaskApi, work: Work, *, key: str) -> None:
    task_api.secrets.delete_variable(key)


def _get_connection(task_api: TaskApi, work: Work | None, *, conn_id: str) -> dict[str, Any] | None:
    found = task_api.secrets.get_connection(conn_id)
    if found is None:
        return None
    return {spec.name: getattr(found, spec.name) for spec in fields(Connection)}


def _previous_success(task_api: TaskApi, work: Work) -> dict[str, Any] | None:
    return _pack_run(task_api.store.previous_success(work.run.key))


def _run_states(
    task_api: TaskApi, work: Work, *, dag_id: str, logical_dates: list[str], run_id: str | None = None
) -> list[str]:
    if run_id is not None:
        run = task_api.store.run(RunKey(dag_id, run_id))
        return [] if run is None else [str(run.state)]
    return [str(run.state) for date in logical_dates for run in _runs_at(task_api, dag_id, date)]


def _task_states(
    task_api: TaskApi, work: Work, *, dag_id: str, task_ids: list[str], logical_dates: list[str]
) -> list[tuple[str, int, str, str]]:
    wanted = frozenset(task_ids)
    return [
        (one.task_id, one.map_index, date, str(one.state))
        for date in logical_dates
        for run in _runs_at(task_api, dag_id, date)
        for one in task_api.store.instances(run.key)
        if one.task_id in wanted
    ]


def _latest_run(task_api: TaskApi, work: Work, *, dag_id: str) -> dict[str, Any] | None:
    return _pack_run(task_api.store.latest_run(dag_id, automated=False))


def _next_interval_after(task_api: TaskApi, work: Work, *, moment: str) -> tuple[str, str] | None:
    if task_api.next_interval is None:
        raise Refused("the schedule cannot be asked here")
    found = task_api.next_interval(work, datetime.fromisoformat(moment))
    return None if found is None else (found[0].isoformat(), found[1].isoformat())


def _trigger_dag(
    task_api: TaskApi,
    work: Work,
    *,
    dag_id: str,
    run_id: str | None = None,
    logical_date: str | None = None,
    conf: Any = None,
    reset: bool = False,
) -> dict[str, Any]:
    if task_api.trigger_dag is None:
        raise Refused("runs of other DAGs cannot be triggered here")
    made = task_api.trigger_dag(
        dag_id,
        run_id=run_id,
        logical_date=None if logical_date is None else datetime.fromisoformat(logical_date),
        conf=serde.decode(conf or {}),
        reset=reset,
        actor=f"task:{work.run.dag_id}/{work.run.run_id}/{TaskKey(work.task_id, work.map_index)}",
    )
    return protocol.pack(made)


def _runs_at(task_api: TaskApi, dag_id: str, date: str) -> list[Run]:
    moment = datetime.fromisoformat(date)
    return task_api.store.runs(dag_id, since=moment, until=moment)


def _pack_run(run: Run | None) -> dict[str, Any] | None:
    return None if run is None else protocol.pack(run)


#: One line a method of nbflow.authoring.runtime.Runtime (a test compares the two).
_ANSWERS: Mapping[str, Callable[..., Any]] = {
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
QUESTIONS = frozenset(_ANSWERS)
