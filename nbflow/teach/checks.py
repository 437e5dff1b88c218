"""Checks: frozen values that read the learner's DAGs and runs in the metastore.

A check does not run, change or import the learner's code. It returns a :class:`Finding`: what was expected, what was
found, and a hint. The checks of an exercise build on each other, so the first that fails is the last that is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from nbflow import serde
from nbflow.commands.surface_syntax import Surface, invocation
from nbflow.core.states import RUN_FINISHED, RunState, TaskState
from nbflow.core.timetables import TimeRestriction, as_utc, timetable_from_spec

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.core.snapshot import Run
    from nbflow.core.spec import DagSpec

FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a check, in sentences; ``code`` in backticks."""

    ok: bool
    expected: str
    found: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """The inputs of a check: the metastore (by ``app``) and the answers that were passed to ``lab.check``."""

    app: App
    answers: tuple[Any, ...] = ()
    surface: Surface = Surface.NOTEBOOK
    """The surface whose spelling of commands the hints use."""

    def spell(self, command: str, *words: str) -> str:
        """A command as typed on the surface, in backticks."""
        return f"`{invocation(command, self.surface, *words)}`"

    def spec(self, dag_id: str) -> DagSpec | None:
        """The newest version of the DAG, from a cell or a file; None without one."""
        versions = self.app.store.versions(dag_id)
        newest = max(versions, key=lambda version: version.number, default=None)
        return None if newest is None else newest.spec

    def newest_run(self, dag_id: str) -> Run | None:
        """The run that was created or cleared last; None without one."""
        return self.app.store.newest_runs([dag_id]).get(dag_id)


class Check(Protocol):
    """One requirement of an exercise."""

    def evaluate(self, context: CheckContext) -> Finding: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DagHasTasks:
    """The DAG exists and has exactly these tasks."""

    dag_id: str
    tasks: frozenset[str]

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"A DAG `{self.dag_id}` with the tasks {_names(self.tasks)}."
        spec = context.spec(self.dag_id)
        if spec is None:
            found = f"There is no DAG `{self.dag_id}` yet."
            return Finding(ok=False, expected=expected, found=found, hint=self._how_to_define(context))
        tasks = frozenset(spec.tasks)
        if tasks == self.tasks:
            return Finding(ok=True, expected=expected)
        missing, extra = self.tasks - tasks, tasks - self.tasks
        hint = f"Define {_names(missing)} with `@task`, and call it." if missing else f"Remove {_names(extra)}."
        found = f"`{self.dag_id}` has {_names(tasks) or 'no tasks'}."
        return Finding(ok=False, expected=expected, found=found, hint=hint)

    def _how_to_define(self, context: CheckContext) -> str:
        if context.surface is Surface.NOTEBOOK:
            return f"Begin a cell with `%%dag {self.dag_id}`, define the tasks in it, and run it."
        return f"Open the lab's notebook in JupyterLab ({context.spell('lab')}), define the DAG in a cell, and run it."


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectlyUpstream:
    """The task has exactly these direct upstream tasks."""

    dag_id: str
    task_id: str
    upstream: frozenset[str]

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"`{self.task_id}` is directly downstream of {_names(self.upstream)}."
        spec = context.spec(self.dag_id)
        task = spec.tasks.get(self.task_id) if spec is not None else None
        upstream = frozenset(task.upstream) if task is not None else frozenset()
        if upstream == self.upstream:
            return Finding(ok=True, expected=expected)
        found = f"It is downstream of {_names(upstream)}." if upstream else "It has no upstream task."
        hint = "Pass one task's result to the other, as in `shout(greet())`, or write `a >> b`."
        return Finding(ok=False, expected=expected, found=found, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The newest run has ended in this state."""

    dag_id: str
    state: RunState = RunState.SUCCESS

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"The newest run of `{self.dag_id}` has ended in {self.state.value}."
        run = context.newest_run(self.dag_id)
        if run is None:
            hint = f"Run it: {context.spell('dags trigger', self.dag_id)}."
            return Finding(ok=False, expected=expected, found=f"`{self.dag_id}` has no run yet.", hint=hint)
        if run.state is self.state:
            return Finding(ok=True, expected=expected)
        if run.state in RUN_FINISHED:
            hint = f"{context.spell('why', self.dag_id)} shows which task failed, and its error."
        else:
            hint = f"The run has not ended. {context.spell('why', self.dag_id)} shows what it waits for."
        return Finding(ok=False, expected=expected, found=f"Its state is {run.state.value}.", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """In the newest run the task returned this value."""

    dag_id: str
    task_id: str
    value: Any

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"The result of `{self.task_id}` is `{self.value!r}`."
        run = context.newest_run(self.dag_id)
        rows = context.app.store.xcom_get(run.key, [self.task_id], "return_value") if run is not None else []
        if not rows:
            hint = "The result of a task is what its function returns: end it with `return ...`."
            return Finding(ok=False, expected=expected, found="It has no result.", hint=hint)
        value = serde.loads(rows[0][1])
        if value == self.value:
            return Finding(ok=True, expected=expected)
        hint = "Change the function, run the cell that defines the DAG, then run the DAG again."
        return Finding(ok=False, expected=expected, found=f"It is `{value!r}`.", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksEnded:
    """In the newest run the tasks have ended in one of these combinations of states."""

    dag_id: str
    outcomes: tuple[Mapping[str, TaskState], ...]
    expected: str
    hint: str

    def evaluate(self, context: CheckContext) -> Finding:
        run = context.newest_run(self.dag_id)
        states = {ti.task_id: ti.state for ti in context.app.store.instances(run.key)} if run is not None else {}
        if any(all(states.get(task_id) is state for task_id, state in outcome.items()) for outcome in self.outcomes):
            return Finding(ok=True, expected=self.expected)
        task_ids = dict.fromkeys(task_id for outcome in self.outcomes for task_id in outcome)
        found = ", ".join(f"`{task_id}` is {_state(states.get(task_id))}" for task_id in task_ids)
        return Finding(ok=False, expected=self.expected, found=f"{found}.", hint=self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """In the newest run the task failed at its first try and succeeded at a later one, by the history of its states."""

    dag_id: str
    task_id: str

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"`{self.task_id}` failed at its first try and succeeded at a later one."
        run = context.newest_run(self.dag_id)
        events = context.app.store.events(run=run.key) if run is not None else []
        states = [event.target for event in events if event.key is not None and event.key.task_id == self.task_id]
        if states and states[-1] == TaskState.SUCCESS and TaskState.UP_FOR_RETRY in states:
            return Finding(ok=True, expected=expected)
        if states and states[-1] == TaskState.FAILED:
            hint = "Give it retries, and a short delay: `@task(retries=1, retry_delay=timedelta(seconds=1))`."
        else:
            hint = "Add an argument `ti` to the function, and raise an exception while `ti.try_number` is 1."
        found = f"Its states were {' → '.join(states)}." if states else "It has not run."
        return Finding(ok=False, expected=expected, found=found, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """The DAG has this schedule and start date."""

    dag_id: str
    schedule: str
    start: datetime

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"`{self.dag_id}` has the schedule `{self.schedule}` from {self.start:%Y-%m-%d} on."
        spec = context.spec(self.dag_id)
        source = "`%%dag?`" if context.surface is Surface.NOTEBOOK else "The lab's notebook"
        hint = f"{source} explains the options `--schedule` and `--start`."
        if spec is None:
            return Finding(ok=False, expected=expected, found=f"There is no DAG `{self.dag_id}` yet.", hint=hint)
        if (spec.schedule_text, spec.start_date) == (self.schedule, self.start):
            return Finding(ok=True, expected=expected)
        start = "no start date" if spec.start_date is None else f"the start date {spec.start_date:%Y-%m-%d %H:%M} UTC"
        return Finding(
            ok=False,
            expected=expected,
            found=f"It has the schedule `{spec.schedule_text}` and {start}.",
            hint=hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRunPredicted:
    """The answer is the time at which the first scheduled run of the DAG starts; its timetable computes that time."""

    dag_id: str

    def evaluate(self, context: CheckContext) -> Finding:
        expected = f"The time at which the first run of `{self.dag_id}` starts, in UTC."
        spec = context.spec(self.dag_id)
        info = None
        if spec is not None and spec.start_date is not None:
            restriction = TimeRestriction(spec.start_date, None, True)
            info = timetable_from_spec(spec.schedule).next_run(None, restriction, FAR_FUTURE)
        if info is None:
            return Finding(ok=False, expected=expected, found=f"`{self.dag_id}` has no schedule yet.")
        if not context.answers:
            hint = "Pass your answer as the second argument: `lab.check(5, '2024-01-01 06:00')`."
            return Finding(ok=False, expected=expected, found="No answer was given.", hint=hint)
        answer = _datetime(context.answers[0])
        if answer is None:
            hint = "Write it like `'2024-01-01 06:00'`."
            return Finding(ok=False, expected=expected, found=f"`{context.answers[0]}` is not a date.", hint=hint)
        if answer == info.run_after:
            return Finding(ok=True, expected=expected)
        hint = "A run processes a data interval, and starts when that interval is over."
        if answer == info.data_interval.start:
            hint = f"That is its logical date, the start of its data interval. {hint}"
        return Finding(ok=False, expected=expected, found=f"{answer:%Y-%m-%d %H:%M} is wrong.", hint=hint)


def _datetime(answer: Any) -> datetime | None:
    try:
        return as_utc(answer if isinstance(answer, datetime) else datetime.fromisoformat(str(answer).strip()))
    except ValueError:
        return None


def _names(names: frozenset[str]) -> str:
    shown = [f"`{name}`" for name in sorted(names)]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _state(state: TaskState | None) -> str:
    return "missing" if state is None else state.value
