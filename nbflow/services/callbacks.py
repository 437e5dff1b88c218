"""Carrying out callback intents: a DAG's own, and those of tasks whose own process could not (it was killed).

An intent is stored with the transition that caused it, so that a crash in between loses none. It is claimed for a
while, called in a process of its own that loads the version which the run keeps, and deleted. What a callback prints
or raises stands in ``callbacks.log`` beside the run's task logs; it never changes a state.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from nbflow.authoring.runtime import Work
from nbflow.authoring.taskinstance import TaskInstance
from nbflow.connections import current_provider
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.errors import StoreError
from nbflow.execution import protocol
from nbflow.execution.logs import LogFolder, make_private
from nbflow.execution.task_runner import user_traceback
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.stored_version import LoadingOptions, VersionSource, load_version
from nbflow.store.base import PendingCallback, Store

LEASE = timedelta(minutes=5)
"""After so long a claimed intent counts as forgotten and is claimed anew."""
SECONDS = 60.0
"""How long one callback may take."""
AT_ONCE = 20
"""How many are claimed in one go; no more are claimed while so many are under way."""


# ------------------------------------------------------------------------------------------------------- in the child


def call_back(payload: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: load the version and call the callbacks of one kind. Returns what they printed and raised."""
    import contextlib
    import io

    printed, faults = io.StringIO(), []
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        version = load_version(VersionSource.from_json(payload["version"]), keep_imports=True)
        if version.dag is None:
            faults.append(version.error)
        else:
            work = protocol.unpack_work(payload["work"])
            faults += call_all(
                version.dag,
                work,
                current_provider(),
                kind=payload["kind"],
                of_task=payload["of_task"],
                reason=payload["reason"],
                at=datetime.fromisoformat(payload["at"]),
            )
    return {"output": printed.getvalue()[-64_000:], "faults": faults}


log = logging.getLogger(__name__)

_STATES = {"success": "success", "failure": "failed", "retry": "up_for_retry", "skipped": "skipped"}


def call_all(dag: Any, work: Work, runtime: Any, *, kind: str, of_task: bool, reason: str, at: datetime) -> list[str]:
    """Call the callbacks of one kind, a task's or the DAG's own; returns what they raised, as text. A DAG's callbacks
    get the context of its first task, and the reason of the run's end."""
    task = dag.get_task(work.task_id)
    ti = TaskInstance(dag=dag, task=task, work=work, runtime=runtime, started=at)
    ti.state = _STATES.get(kind, "running")
    context = ti.context
    context["reason"] = reason
    faults = []
    for callback in getattr(task if of_task else dag, f"on_{kind}_callback", None) or ():
        try:
            callback(context)
        except Exception as error:
            name = getattr(callback, "__name__", callback)
            faults.append(f"on_{kind}_callback {name} failed: {error}\n{user_traceback(error)}")
    return faults


def work_for(store: Store, run_key: RunKey, key: TaskKey | None, spec: DagSpec) -> Work | None:
    """What a callback's context is made of: the task instance named, or the DAG's first one."""
    run = store.run(run_key)
    if run is None or not spec.tasks:
        return None
    key = key or TaskKey(next(iter(spec.tasks)))
    one = next((i for i in store.instances(run_key) if i.key == key), None)
    return Work(
        attempt_id="",
        run=run,
        task_id=key.task_id,
        map_index=key.map_index,
        try_number=one.try_number if one else 0,
        max_tries=one.max_tries if one else 0,
        version=run.version,
    )


# -------------------------------------------------------------------------------------------- beside the scheduler


class CallbackRunner:
    """Claims intents and sends them on their subprocess_jobs."""

    def __init__(
        self,
        store: Store,
        subprocess_jobs: SubprocessJobs,
        *,
        owner: str,
        logs: LogFolder,
        loading: LoadingOptions,
        now: Callable[[], datetime],
    ) -> None:
        self.store, self.subprocess_jobs, self.owner, self.logs, self.now = store, subprocess_jobs, owner, logs, now
        self.loading = loading
        self.in_work: set[int] = set()

    @property
    def busy(self) -> bool:
        """As many are under way as may be."""
        return len(self.in_work) >= AT_ONCE

    def claim(self) -> bool:
        """Take what waits, a few at a time, and send it off; whether there may be more. What an earlier claim left
        undone (its process died, the store refused) is taken once more when its lease is over."""
        intents = self.store.claim_callbacks(owner=self.owner, lease=LEASE, now=self.now(), limit=AT_ONCE)
        for intent in intents:
            payload = self._payload(intent)
            if payload is None:
                self._finish(intent, "the run or its version is gone")
                continue
            self.in_work.add(intent.callback_id)
            self.subprocess_jobs.send(payload, seconds=SECONDS, done=partial(self._ended, intent))
        return len(intents) == AT_ONCE

    def _payload(self, intent: PendingCallback) -> dict[str, Any] | None:
        version = self.store.version(intent.run.dag_id, intent.version)
        work = None if version is None else work_for(self.store, intent.run, intent.key, version.spec)
        if version is None or work is None:
            return None
        return {
            "job": "callback",
            "version": VersionSource.of(version, self.loading).to_json(),
            "work": protocol.pack_work(work),
            "of_task": intent.key is not None,
            "kind": intent.kind,
            "reason": intent.reason,
            "at": intent.at.isoformat(),
        }

    def _ended(self, intent: PendingCallback, end: JobResult) -> None:
        self.in_work.discard(intent.callback_id)
        if end.result is not None:
            output, faults = str(end.result["output"]), [str(fault) for fault in end.result["faults"]]
        else:
            late = f"it took longer than {SECONDS:g} s" if end.too_slow else f"its process ended: {end.fault}"
            output, faults = "", [f"on_{intent.kind}_callback of {intent.key or 'the DAG'}: {late}"]
        try:
            self._log(intent, output, faults)
            self._finish(intent, faults[0] if faults else None)
        except (OSError, StoreError) as fault:  # it is called once more when its lease is over
            log.error("the end of on_%s_callback of %s is not stored: %s", intent.kind, intent.run.run_id, fault)

    def _finish(self, intent: PendingCallback, error: str | None) -> None:
        self.store.finish_callback(intent.callback_id, error=error, now=self.now())

    def _log(self, intent: PendingCallback, output: str, faults: list[str]) -> None:
        path = self.logs.path(intent.run, TaskKey("x"), 1).parent.parent / "callbacks.log"
        make_private(path.parent)
        who = intent.key or "DAG"
        with open(path, "a", encoding="utf-8", opener=_private) as file:
            file.write(f"{self.now().isoformat()} on_{intent.kind}_callback of {who}: {intent.reason}\n")
            for text in (output, *faults):
                if text:
                    file.write(text.rstrip() + "\n")


def _private(path: str, flags: int) -> int:
    """Opens a file that only its owner reads."""
    return os.open(path, flags, 0o600)
