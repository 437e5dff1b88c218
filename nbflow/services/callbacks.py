"""Runs the callbacks of DAGs, and those of tasks whose process was killed before it could run them.

A callback request is stored in the transaction of the transition that causes it, so that a crash does not lose it. It
is claimed with a lease, runs in a subprocess that loads the run's DAG version, and is deleted. It is called once,
unless the process of its runner dies meanwhile. The output and errors of a callback are in ``callbacks.log`` next to
the run's task logs; a callback never changes a state.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from nbflow.authoring.taskinstance import TaskInstance
from nbflow.authoring.workload import Workload
from nbflow.config import make_private
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.errors import StoreError
from nbflow.execution import protocol
from nbflow.execution.logs import LogFolder
from nbflow.execution.task_runner import user_traceback
from nbflow.secrets_backends import current_provider, mask_given
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.version_loading import LoadingOptions, VersionSource, load_version
from nbflow.store.base import PendingCallback, Store

LEASE = timedelta(minutes=5)
"""Lease of a claimed callback beyond its time limit: after both it is claimed again."""
NO_LIMIT_SECONDS = 24 * 3600.0
"""Time limit of a callback if [core] callback_timeout is 0: its lease must end some day."""
MAX_RUNNING = 20
"""Maximum number of callbacks that are claimed at once and that run at once."""


# -------------------------------------------------------------------------------------------------- in the subprocess


def run_callbacks(payload: Mapping[str, Any]) -> dict[str, Any]:
    """In the subprocess: load the version and call the callbacks of one kind. Returns {"output": text, "errors":
    [text]}."""
    import contextlib
    import io

    output, errors = io.StringIO(), []
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        version = load_version(VersionSource.from_json(payload["version"]), keep_imports=True)
        if version.dag is None:
            errors.append(version.error)
        else:
            workload = protocol.unpack_workload(payload["workload"])
            errors += call_callbacks(
                version.dag,
                workload,
                current_provider(),
                kind=payload["kind"],
                of_task=payload["of_task"],
                reason=payload["reason"],
                at=datetime.fromisoformat(payload["at"]),
            )
    return {"output": mask_given(output.getvalue())[-64_000:], "errors": list(map(mask_given, errors))}


log = logging.getLogger(__name__)

_STATES = {"success": "success", "failure": "failed", "retry": "up_for_retry", "skipped": "skipped"}


def call_callbacks(
    dag: Any, workload: Workload, runtime: Any, *, kind: str, of_task: bool, reason: str, at: datetime
) -> list[str]:
    """Call the callbacks of one kind, of a task or of the DAG; returns their errors as text. A DAG's callbacks get the
    context of its first task, and the reason of the run's end."""
    task = dag.get_task(workload.task_id)
    ti = TaskInstance(dag=dag, task=task, workload=workload, runtime=runtime, started=at)
    ti.state = _STATES.get(kind, "running")
    context = ti.context
    context["reason"] = reason
    errors = []
    for callback in getattr(task if of_task else dag, f"on_{kind}_callback", None) or ():
        try:
            callback(context)
        except (Exception, SystemExit) as error:
            name = getattr(callback, "__name__", callback)
            errors.append(f"on_{kind}_callback {name} failed: {error}\n{user_traceback(error)}")
    return errors


def callback_workload(store: Store, run_key: RunKey, key: TaskKey | None, spec: DagSpec) -> Workload | None:
    """The task instance for a callback's context: the one with ``key``, or one of the DAG's first task. None if the run
    does not exist or the DAG has no tasks."""
    run = store.run(run_key)
    if run is None or not spec.tasks:
        return None
    key = key or TaskKey(next(iter(spec.tasks)))
    ti = next((ti for ti in store.instances(run_key) if ti.key == key), None)
    return Workload(
        attempt_id="",
        run=run,
        task_id=key.task_id,
        map_index=key.map_index,
        try_number=ti.try_number if ti else 0,
        max_tries=ti.max_tries if ti else 0,
        version=run.version,
    )


# ------------------------------------------------------------------------------------------------ in the DAG processor


class CallbackRunner:
    """Claims callbacks and runs them as subprocess jobs."""

    def __init__(
        self,
        store: Store,
        subprocess_jobs: SubprocessJobs,
        *,
        owner: str,
        logs: LogFolder,
        loading: LoadingOptions,
        now: Callable[[], datetime],
        seconds: float,
    ) -> None:
        """``seconds``: the time limit of all callbacks of one kind together; 0: none."""
        self.seconds = seconds or NO_LIMIT_SECONDS
        self.store, self.subprocess_jobs, self.owner, self.logs, self.now = store, subprocess_jobs, owner, logs, now
        self.loading = loading
        self.running: set[int] = set()
        self.finished: dict[int, str | None] = {}
        """Callbacks that have been called, with their error, and that the store has not deleted yet."""

    @property
    def busy(self) -> bool:
        """Whether the maximum number of callbacks is running."""
        return len(self.running) >= MAX_RUNNING

    def claim(self) -> bool:
        """Claim waiting callbacks and start them; returns whether there may be more. A callback that was claimed but
        not finished, because its process died, is claimed again when its lease has expired."""
        for callback_id, error in tuple(self.finished.items()):
            self._finish(callback_id, error)
        lease = timedelta(seconds=self.seconds) + LEASE
        callbacks = self.store.claim_callbacks(owner=self.owner, lease=lease, now=self.now(), limit=MAX_RUNNING)
        for callback in callbacks:
            payload = self._payload(callback)
            if payload is None:
                self._finish(callback.callback_id, "the run or its DAG version was deleted")
                continue
            self.running.add(callback.callback_id)
            self.subprocess_jobs.send(payload, seconds=self.seconds, done=partial(self._on_end, callback))
        return len(callbacks) == MAX_RUNNING

    def _payload(self, callback: PendingCallback) -> dict[str, Any] | None:
        version = self.store.version(callback.run.dag_id, callback.version)
        workload = None if version is None else callback_workload(self.store, callback.run, callback.key, version.spec)
        if version is None or workload is None:
            return None
        return {
            "job": "callback",
            "version": VersionSource.of(version, self.loading).to_json(),
            "workload": protocol.pack_workload(workload),
            "of_task": callback.key is not None,
            "kind": callback.kind,
            "reason": callback.reason,
            "at": callback.at.isoformat(),
        }

    def _on_end(self, callback: PendingCallback, result: JobResult) -> None:
        self.running.discard(callback.callback_id)
        if result.content is not None:
            output, errors = str(result.content["output"]), [str(error) for error in result.content["errors"]]
        else:
            if result.timed_out:
                cause = f"it ran longer than [core] callback_timeout, {self.seconds:g} s"
            else:
                cause = f"its process ended: {result.error}"
            output, errors = "", [f"on_{callback.kind}_callback of {callback.key or 'the DAG'}: {cause}"]
        try:
            self._log(callback, output, errors)
        except OSError as error:
            log.error("The log of on_%s_callback of %s is lost: %s", callback.kind, callback.run.run_id, error)
        try:
            self._finish(callback.callback_id, errors[0] if errors else None)
        except StoreError as error:
            log.error("on_%s_callback of %s was called; it is deleted later: %s", callback.kind, callback.run, error)

    def _finish(self, callback_id: int, error: str | None) -> None:
        self.finished[callback_id] = error
        self.store.finish_callback(callback_id, error=error, now=self.now())
        del self.finished[callback_id]

    def _log(self, callback: PendingCallback, output: str, errors: list[str]) -> None:
        path = self.logs.path(callback.run, TaskKey("x"), 1).parent.parent / "callbacks.log"
        make_private(path.parent)
        subject = callback.key or "DAG"
        with open(path, "a", encoding="utf-8", opener=_private) as file:
            file.write(f"{self.now().isoformat()} on_{callback.kind}_callback of {subject}: {callback.reason}\n")
            for text in (output, *errors):
                if text:
                    file.write(text.rstrip() + "\n")


def _private(path: str, flags: int) -> int:
    """An opener for files that only the owner can read."""
    return os.open(path, flags, 0o600)
