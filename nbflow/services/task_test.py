"""A try of a task in this process, without recording it: ``tasks test``, ``tasks render``, ``run_task``.

The try has the inputs of a real one: the run's dates and conf, the XComs that earlier tasks of the run have pushed (if
the run exists; the caller may replace them), connections and variables. The XComs that it pushes are kept in memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nbflow import serde
from nbflow.authoring.context import running_in
from nbflow.authoring.params import conf_as_json
from nbflow.authoring.taskinstance import TaskInstance
from nbflow.authoring.workload import Outcome, Workload
from nbflow.core.attempt_events import Deferred, Event, Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import Run
from nbflow.core.timetables import timetable_from_spec
from nbflow.errors import AirflowException, DagRunNotFound, NbflowError, TaskNotFound
from nbflow.execution.task_client import TaskClient
from nbflow.execution.task_runner import executable_task, run_try
from nbflow.secrets_backends import providing

if TYPE_CHECKING:
    from datetime import datetime

    from nbflow.app import App
    from nbflow.authoring.dag import DAG
    from nbflow.core.spec import DagSpec
    from nbflow.secrets_masker import Masker


@dataclass(kw_only=True)
class TaskTest:
    """A try of a task, in a run that exists or in a temporary run."""

    app: App
    dag: DAG
    workload: Workload
    spec: DagSpec
    xcoms: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(task id, key) -> XCom that replaces the stored one; for a mapped task the list of its instances' XComs."""
    pushed: dict[str, Any] = field(default_factory=dict)
    """XComs that the try pushed, by key."""
    shown: dict[str, Any] = field(default_factory=dict)
    """``pushed`` with masked secrets, for display."""
    rendered: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Run the try."""
        runtime = self._runtime()
        outcome = run_try(self.dag, self._task(), self.workload, runtime)
        self.shown = (runtime.masker or self.app.task_api.masker()).mask_value(self.pushed)
        return outcome

    def render(self) -> dict[str, Any]:
        """The rendered template fields, with masked secrets. Raises AirflowException, in one line, for a template that
        cannot be rendered."""
        runtime = self._runtime()
        ti = TaskInstance(
            dag=self.dag, task=self._task(), workload=self.workload, runtime=runtime, started=self.app.clock.now()
        )
        masker = runtime.masker or self.app.task_api.masker()
        try:
            with running_in(ti.context), providing(runtime):
                task = executable_task(ti.task, ti.context)
                ti.task = ti.context["task"] = task
                task.render_template_fields(ti.context)
        except NbflowError:
            raise
        except Exception as error:
            raise _render_error(self.workload.task_id, error, masker) from error
        fields = {name: getattr(task, name) for name in task.template_fields}
        return {name: masker.mask_value(_display_value(value), everywhere=True) for name, value in fields.items()}

    def _task(self) -> Any:
        return self.dag.get_task(self.workload.task_id)

    def _runtime(self) -> TaskClient:
        return TaskClient(self._handle_request, now=self.app.clock.now, masker=self.app.task_api.masker())

    def _handle_request(self, kind: str, args: Mapping[str, Any]) -> Any:
        if kind == "xcom_push":
            self.pushed[args["key"]] = serde.loads(args["value"])
            return None
        if kind == "put_rendered":
            self.rendered.update(args["fields"])
            return None
        if kind == "xcom_get" and self.xcoms:
            return self._get_xcoms(**args)
        return self.app.task_api.handle(self.workload, kind, args)

    def _get_xcoms(self, *, task_ids: list[str], key: str, map_index: int | None = None, **rest: Any) -> list[Any]:
        values: list[tuple[str, int, str]] = []
        for task_id in task_ids:
            if (task_id, key) not in self.xcoms:
                request = {"task_ids": [task_id], "key": key, "map_index": map_index, **rest}
                values += self.app.task_api.handle(self.workload, "xcom_get", request)
                continue
            xcom = self.xcoms[task_id, key]
            mapped = self.spec.length_expr(task_id) is not None
            by_index = list(enumerate(xcom)) if mapped else [(-1, xcom)]
            values += [
                (task_id, index, serde.dumps(value))
                for index, value in by_index
                if map_index is None or not mapped or index == map_index
            ]
        return values


def task_test(
    app: App,
    dag: DAG,
    spec: DagSpec,
    task_id: str,
    *,
    run: str | datetime | None,
    map_index: int = -1,
    conf: Mapping[str, Any],
    xcoms: Mapping[tuple[str, str], Any] | None = None,
) -> TaskTest:
    """A try of ``task_id`` in the run with this run id or logical date; for a date without a run, in a temporary run.
    Raises TaskNotFound, DagRunNotFound."""
    if task_id not in spec.tasks:
        raise TaskNotFound.among(dag.dag_id, task_id, spec.tasks)
    if map_index < 0 and spec.length_expr(task_id) is not None:
        raise NbflowError(f"Task {task_id} is mapped: give a map index.", hint="The first instance has map index 0.")
    dag_run = _run(app, dag, spec, run, conf_as_json(conf))
    workload = Workload(
        attempt_id=f"task_test-{uuid.uuid4().hex[:12]}",
        run=dag_run,
        task_id=task_id,
        map_index=map_index,
        try_number=1,
        max_tries=spec.tasks[task_id].retries,
        version=dag_run.version,
    )
    return TaskTest(app=app, dag=dag, workload=workload, spec=spec, xcoms=dict(xcoms or {}))


_STATES: Mapping[type, str] = {
    Succeeded: "success",
    Failed: "failed",
    SkippedItself: "skipped",
    Rescheduled: "up_for_reschedule",
    Deferred: "deferred",
}


def state_of(event: Event) -> str:
    """The task instance's state after a try with this outcome, without retries."""
    return _STATES[type(event)]


def _run(app: App, dag: DAG, spec: DagSpec, id_or_date: str | datetime | None, conf: Mapping[str, Any]) -> Run:
    existing = None
    if id_or_date is not None and app.store.version(dag.dag_id) is not None:
        try:
            existing = app.operations().find_run(dag.dag_id, id_or_date)
        except DagRunNotFound:
            existing = None
    if existing is not None:
        return replace(existing, conf={**existing.conf, **conf})
    if isinstance(id_or_date, str):
        raise DagRunNotFound(f"DAG {dag.dag_id!r} has no run {id_or_date!r}, and {id_or_date!r} is not a date.")
    moment = id_or_date or app.clock.now()
    custom = spec.schedule.get("kind") == "custom"  # the DAG is loaded here, so its timetable may be called
    interval = (dag.timetable if custom else timetable_from_spec(spec.schedule)).manual_interval(moment)
    return Run(
        dag_id=dag.dag_id,
        run_id=make_run_id(RunType.MANUAL, logical_date=moment, run_after=moment),
        run_type=RunType.MANUAL,
        logical_date=moment,
        data_interval_start=interval.start,
        data_interval_end=interval.end,
        run_after=moment,
        start_date=app.clock.now(),
        conf=dict(conf),
        triggered_by="test",
    )


def _render_error(task_id: str, error: Exception, masker: Masker) -> AirflowException:
    """``Rendering bash_command of task 'a': '{{ x }}' failed: UndefinedError: 'x' is undefined.``"""
    rendering = next(iter(getattr(error, "__notes__", ())), f"Rendering task {task_id!r}")
    text = " ".join(f"{rendering} failed: {type(error).__name__}: {error}".rstrip(".").split())
    return AirflowException(f"{masker.mask(text)}.")


def _display_value(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, dict, tuple, type(None))) else str(value)
