"""One try of one task in this process, of which nothing is recorded: ``tasks test``, ``tasks render``, ``run_task``.

The try sees what a real one would: the run's dates and conf, the XComs that earlier tasks of that run have pushed (if
there is such a run, or those given in their place), connections and variables. What it pushes is kept here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nbflow import serde
from nbflow.authoring.context import running_in
from nbflow.authoring.params import conf_as_json
from nbflow.authoring.runtime import Outcome, Work
from nbflow.authoring.taskinstance import TaskInstance
from nbflow.connections import providing
from nbflow.core.events import Deferred, Event, Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import Run
from nbflow.core.timetables import timetable_from_spec
from nbflow.errors import DagRunNotFound, NbflowError, TaskNotFound, did_you_mean
from nbflow.execution.task_client import TaskClient
from nbflow.execution.task_runner import executable_task, run_try

if TYPE_CHECKING:
    from datetime import datetime

    from nbflow.app import App
    from nbflow.authoring.dag import DAG
    from nbflow.core.spec import DagSpec


@dataclass(kw_only=True)
class TaskTest:
    """One task of a DAG, in a run that exists or is made up."""

    app: App
    dag: DAG
    work: Work
    spec: DagSpec
    given: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(task id, key) -> XCom, in place of those in the metastore; of a mapped task the list of its instances'."""
    pushed: dict[str, Any] = field(default_factory=dict)
    """XComs that the try pushed, by key."""
    rendered: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Run it."""
        runtime = self._runtime()
        return run_try(self.dag, self._task(), self.work, runtime)

    def render(self) -> dict[str, Any]:
        """The template fields, rendered, secrets masked."""
        runtime = self._runtime()
        ti = TaskInstance(
            dag=self.dag, task=self._task(), work=self.work, runtime=runtime, started=self.app.clock.now()
        )
        with running_in(ti.context), providing(runtime):
            task = executable_task(ti.task, ti.context)
            ti.task = ti.context["task"] = task
            task.render_template_fields(ti.context)
        fields = {name: getattr(task, name) for name in task.template_fields}
        masker = runtime.masker or self.app.task_api.masker()
        return {name: masker.mask_value(_shown(value)) for name, value in fields.items()}

    def _task(self) -> Any:
        return self.dag.get_task(self.work.task_id)

    def _runtime(self) -> TaskClient:
        return TaskClient(self._answer, now=self.app.clock.now, masker=self.app.task_api.masker())

    def _answer(self, kind: str, args: Mapping[str, Any]) -> Any:
        if kind == "xcom_push":
            self.pushed[args["key"]] = serde.loads(args["value"])
            return None
        if kind == "put_rendered":
            self.rendered.update(args["fields"])
            return None
        if kind == "xcom_get" and self.given:
            return self._given(**args)
        return self.app.task_api.handle(self.work, kind, args)

    def _given(self, *, task_ids: list[str], key: str, map_index: int | None = None, **rest: Any) -> list[Any]:
        found: list[tuple[str, int, str]] = []
        for task_id in task_ids:
            if (task_id, key) not in self.given:
                asked = {"task_ids": [task_id], "key": key, "map_index": map_index, **rest}
                found += self.app.task_api.handle(self.work, "xcom_get", asked)
                continue
            value = self.given[task_id, key]
            mapped = self.spec.length_expr(task_id) is not None
            each = list(enumerate(value)) if mapped else [(-1, value)]
            found += [
                (task_id, at, serde.dumps(one))
                for at, one in each
                if map_index is None or not mapped or at == map_index
            ]
        return found


def task_test(
    app: App,
    dag: DAG,
    spec: DagSpec,
    task_id: str,
    *,
    run: str | datetime | None,
    map_index: int = -1,
    conf: Mapping[str, Any],
    given: Mapping[tuple[str, str], Any] | None = None,
) -> TaskTest:
    """A try of ``task_id`` in the run named by its id or date; a date that has no run gets one made up."""
    if task_id not in spec.tasks:
        raise TaskNotFound(
            f"DAG {dag.dag_id!r} has no task {task_id!r}.{did_you_mean(task_id, spec.tasks)}",
            hint=f"It has: {', '.join(list(spec.tasks)[:20])}.",
        )
    if map_index < 0 and spec.length_expr(task_id) is not None:
        raise NbflowError(f"{task_id} is mapped: say which of its instances.", hint="The first has the map index 0.")
    found = _run(app, dag, spec, run, conf_as_json(conf))
    work = Work(
        attempt_id=f"task_test-{uuid.uuid4().hex[:12]}",
        run=found,
        task_id=task_id,
        map_index=map_index,
        try_number=1,
        max_tries=spec.tasks[task_id].retries,
        version=found.version,
    )
    return TaskTest(app=app, dag=dag, work=work, spec=spec, given=dict(given or {}))


_STATES: Mapping[type, str] = {
    Succeeded: "success",
    Failed: "failed",
    SkippedItself: "skipped",
    Rescheduled: "up_for_reschedule",
    Deferred: "deferred",
}


def state_of(event: Event) -> str:
    """The state that a try with this end leads to, retries left aside."""
    return _STATES[type(event)]


def _run(app: App, dag: DAG, spec: DagSpec, which: str | datetime | None, conf: Mapping[str, Any]) -> Run:
    there = None
    if which is not None and app.store.version(dag.dag_id) is not None:
        try:
            there = app.operations().find_run(dag.dag_id, which)
        except DagRunNotFound:
            there = None
    if there is not None:
        return replace(there, conf={**there.conf, **conf})
    if isinstance(which, str):
        raise DagRunNotFound(f"DAG {dag.dag_id!r} has no run {which}, and that is no date.")
    moment = which or app.clock.now()
    custom = spec.schedule.get("kind") == "custom"  # the DAG is loaded: its author's class may answer
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


def _shown(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, dict, tuple, type(None))) else str(value)
