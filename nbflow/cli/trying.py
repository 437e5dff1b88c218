"""One try of one task in this process, of which nothing is recorded: ``tasks test`` and ``tasks render``.

The try sees what a real one would: the run's dates and conf, the XComs that earlier tasks of that run have pushed (if
there is such a run), connections and variables. What it pushes is kept here and shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbflow import serde
from nbflow.connections import providing
from nbflow.core.runids import RunType, make_run_id
from nbflow.core.snapshot import Run
from nbflow.core.timetables import timetable_from_spec
from nbflow.dag.context import running_in
from nbflow.dag.running import concrete, run_try
from nbflow.dag.runtime import Outcome, Work
from nbflow.dag.taskinstance import TaskInstance
from nbflow.errors import DagRunNotFound, TaskNotFound, did_you_mean
from nbflow.execution.asking import AskingRuntime
from nbflow.secrets import Masker

if TYPE_CHECKING:
    from datetime import datetime

    from nbflow.app import App
    from nbflow.core.spec import DagSpec
    from nbflow.dag.dag import DAG


@dataclass(kw_only=True)
class Trial:
    """One task of a DAG, in a run that exists or is made up."""

    app: App
    dag: DAG
    work: Work
    pushed: dict[str, Any] = field(default_factory=dict)
    """XComs that the try pushed, by key."""
    rendered: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Run it."""
        runtime = self._runtime()
        return run_try(self.dag, self._task(), self.work, runtime, masker=runtime.masker)

    def render(self) -> dict[str, Any]:
        """The template fields, rendered, secrets masked."""
        runtime = self._runtime()
        ti = TaskInstance(
            dag=self.dag, task=self._task(), work=self.work, runtime=runtime, started=self.app.clock.now()
        )
        with self.app.answering(), running_in(ti.context), providing(self.app.secrets):
            task = concrete(ti.task, ti.context)
            ti.task = ti.context["task"] = task
            task.render_template_fields(ti.context)
        fields = {name: getattr(task, name) for name in task.template_fields}
        masker = runtime.masker or Masker()
        return {name: masker.mask_value(_shown(value)) for name, value in fields.items()}

    def _task(self) -> Any:
        return self.dag.get_task(self.work.task_id)

    def _runtime(self) -> AskingRuntime:
        return AskingRuntime(self._answer, now=self.app.clock.now, masker=Masker())

    def _answer(self, kind: str, args: Mapping[str, Any]) -> Any:
        if kind == "xcom_push":
            self.pushed[args["key"]] = serde.loads(args["value"])
            return None
        if kind == "put_rendered":
            self.rendered.update(args["fields"])
            return None
        return self.app.desk.answer(self.work, kind, args)


def trial(
    app: App,
    dag: DAG,
    spec: DagSpec,
    task_id: str,
    *,
    run: str | datetime | None,
    map_index: int = -1,
    conf: Mapping[str, Any],
    try_number: int = 1,
) -> Trial:
    """A try of ``task_id`` in the run named by its id or date; a date that has no run gets one made up."""
    if task_id not in spec.tasks:
        raise TaskNotFound(
            f"DAG {dag.dag_id!r} has no task {task_id!r}.{did_you_mean(task_id, spec.tasks)}",
            hint=f"It has: {', '.join(list(spec.tasks)[:20])}.",
        )
    found = _run(app, dag, spec, run, conf)
    work = Work(
        attempt_id=f"trial-{uuid.uuid4().hex[:12]}",
        run=found,
        task_id=task_id,
        map_index=map_index,
        try_number=try_number,
        max_tries=spec.tasks[task_id].retries,
        version=found.version,
    )
    return Trial(app=app, dag=dag, work=work)


def _run(app: App, dag: DAG, spec: DagSpec, which: str | datetime | None, conf: Mapping[str, Any]) -> Run:
    from dataclasses import replace

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
    interval = timetable_from_spec(spec.schedule).manual_interval(moment)
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
