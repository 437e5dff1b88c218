"""Checks: small values that look at what a learner's own runs left in the metastore.

A check never runs, changes or imports anything of the learner's. It answers with a :class:`Finding`: what was expected,
what was found, and a hint. Checks of one exercise build on each other, so the first that fails ends the look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from nbflow import serde
from nbflow.commands.way_out import Surface, invocation
from nbflow.core.states import RUN_FINISHED, RunState, TaskState
from nbflow.core.timetables import TimeRestriction, as_utc, timetable_from_spec

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.core.snapshot import Run
    from nbflow.core.spec import DagSpec

FAR = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check came to, in sentences."""

    ok: bool
    expected: str
    found: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What checks may look at: the home, and the answers that were given to the check."""

    app: App
    answers: tuple[Any, ...] = ()
    surface: Surface = Surface.NOTEBOOK
    """Where hints are read."""

    def spell(self, command: str, *words: str) -> str:
        """A command as one types it there."""
        return f"`{invocation(command, self.surface, *words)}`"

    def spec(self, dag_id: str) -> DagSpec | None:
        """The DAG as it was last defined, by a cell or a file."""
        versions = self.app.store.versions(dag_id)
        newest = max(versions, key=lambda one: one.number, default=None)
        return None if newest is None else newest.spec

    def newest_run(self, dag_id: str) -> Run | None:
        """The run that was made (or cleared to run again) last."""
        return self.app.store.newest_runs([dag_id]).get(dag_id)


class Check(Protocol):
    """One thing that an exercise asks for."""

    def look(self, world: World) -> Finding: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DagHasTasks:
    """A DAG is defined, with exactly these tasks."""

    dag_id: str
    tasks: frozenset[str]

    def look(self, world: World) -> Finding:
        expected = f"A DAG `{self.dag_id}` with the tasks {_names(self.tasks)}."
        spec = world.spec(self.dag_id)
        if spec is None:
            return Finding(ok=False, expected=expected, found="There is no such DAG yet.", hint=self._where(world))
        there = frozenset(spec.tasks)
        if there == self.tasks:
            return Finding(ok=True, expected=expected)
        missing, extra = self.tasks - there, there - self.tasks
        hint = f"Define {_names(missing)} with `@task`, and call it." if missing else f"Take out {_names(extra)}."
        return Finding(ok=False, expected=expected, found=f"It has {_names(there) or 'no tasks'}.", hint=hint)

    def _where(self, world: World) -> str:
        if world.surface is Surface.NOTEBOOK:
            return f"Begin a cell with `%%dag {self.dag_id}`, define the tasks in it, and run it."
        return f"Open the lab's notebook in JupyterLab ({world.spell('lab')}), define the DAG in a cell, and run it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """One task comes directly after others."""

    dag_id: str
    task_id: str
    after: frozenset[str]

    def look(self, world: World) -> Finding:
        expected = f"`{self.task_id}` comes after {_names(self.after)}."
        spec = world.spec(self.dag_id)
        task = spec.tasks.get(self.task_id) if spec is not None else None
        there = frozenset(task.upstream) if task is not None else frozenset()
        if there == self.after:
            return Finding(ok=True, expected=expected)
        found = f"It comes after {_names(there)}." if there else "It waits for no task."
        hint = "Hand one task's result to the other, as in `shout(greet())`, or write `a >> b`."
        return Finding(ok=False, expected=expected, found=found, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The newest run has ended in this state."""

    dag_id: str
    state: RunState = RunState.SUCCESS

    def look(self, world: World) -> Finding:
        expected = f"The newest run of `{self.dag_id}` has ended in {self.state.value}."
        run = world.newest_run(self.dag_id)
        if run is None:
            return Finding(
                ok=False, expected=expected, found="It has no run yet.", hint=world.spell("dags trigger", self.dag_id)
            )
        if run.state is self.state:
            return Finding(ok=True, expected=expected)
        if run.state in RUN_FINISHED:
            hint = f"{world.spell('why', self.dag_id)} says which task it was, and with which error."
        else:
            hint = f"It has not ended. {world.spell('why', self.dag_id)} says what it waits for."
        return Finding(ok=False, expected=expected, found=f"It is {run.state.value}.", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """In the newest run a task's result is this."""

    dag_id: str
    task_id: str
    value: Any

    def look(self, world: World) -> Finding:
        expected = f"The result of `{self.task_id}` is `{self.value!r}`."
        run = world.newest_run(self.dag_id)
        rows = world.app.store.xcom_get(run.key, [self.task_id], "return_value") if run is not None else []
        if not rows:
            hint = "A task hands over what it returns: end its function with `return ...`."
            return Finding(ok=False, expected=expected, found="It has none.", hint=hint)
        value = serde.loads(rows[0][1])
        if value == self.value:
            return Finding(ok=True, expected=expected)
        hint = "Change the function, run the cell that defines the DAG, and run the DAG again."
        return Finding(ok=False, expected=expected, found=f"It is `{value!r}`.", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedAs:
    """In the newest run the tasks have ended in one of these ways."""

    dag_id: str
    ways: tuple[Mapping[str, TaskState], ...]
    expected: str
    hint: str

    def look(self, world: World) -> Finding:
        run = world.newest_run(self.dag_id)
        there = {one.task_id: one.state for one in world.app.store.instances(run.key)} if run is not None else {}
        if any(all(there.get(task_id) is state for task_id, state in way.items()) for way in self.ways):
            return Finding(ok=True, expected=self.expected)
        asked = dict.fromkeys(task_id for way in self.ways for task_id in way)
        found = ", ".join(f"`{task_id}` is {_state(there.get(task_id))}" for task_id in asked)
        return Finding(ok=False, expected=self.expected, found=f"{found}.", hint=self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """In the newest run a task failed at first and succeeded when it was tried again: the history says so."""

    dag_id: str
    task_id: str

    def look(self, world: World) -> Finding:
        expected = f"`{self.task_id}` failed at its first try and succeeded at a later one."
        run = world.newest_run(self.dag_id)
        events = world.app.store.events(run=run.key) if run is not None else []
        path = [one.target for one in events if one.key is not None and one.key.task_id == self.task_id]
        if path and path[-1] == TaskState.SUCCESS and TaskState.UP_FOR_RETRY in path:
            return Finding(ok=True, expected=expected)
        if path and path[-1] == TaskState.FAILED:
            hint = "Give it retries, and a short delay: `@task(retries=1, retry_delay=timedelta(seconds=1))`."
        else:
            hint = "Let it raise while `ti.try_number` is 1: take `ti` as an argument of the function."
        found = f"It went through {' → '.join(path)}." if path else "It has not run."
        return Finding(ok=False, expected=expected, found=found, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A DAG has this schedule and start date."""

    dag_id: str
    schedule: str
    start: datetime

    def look(self, world: World) -> Finding:
        expected = f"`{self.dag_id}` has the schedule `{self.schedule}` from {self.start:%Y-%m-%d} on."
        spec = world.spec(self.dag_id)
        where = "`%%dag?`" if world.surface is Surface.NOTEBOOK else "the lab's notebook"
        hint = f"See {where} for the options `--schedule` and `--start`."
        if spec is None:
            return Finding(ok=False, expected=expected, found="There is no such DAG yet.", hint=hint)
        if (spec.schedule_text, spec.start_date) == (self.schedule, self.start):
            return Finding(ok=True, expected=expected)
        since = "no start date" if spec.start_date is None else f"the start date {spec.start_date:%Y-%m-%d %H:%M} UTC"
        return Finding(
            ok=False,
            expected=expected,
            found=f"It has the schedule `{spec.schedule_text}` and {since}.",
            hint=hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRunPredicted:
    """The answer is the moment at which the first run of a DAG's schedule starts. The timetable itself is asked."""

    dag_id: str

    def look(self, world: World) -> Finding:
        expected = f"The moment at which the first run of `{self.dag_id}` starts, in UTC."
        spec = world.spec(self.dag_id)
        info = None
        if spec is not None and spec.start_date is not None:
            restriction = TimeRestriction(spec.start_date, None, True)
            info = timetable_from_spec(spec.schedule).next_run(None, restriction, FAR)
        if info is None:
            return Finding(ok=False, expected=expected, found=f"`{self.dag_id}` has no schedule yet.")
        if not world.answers:
            hint = "Give your answer to the check, as a text: `'2024-01-01 06:00'`."
            return Finding(ok=False, expected=expected, found="No answer was given.", hint=hint)
        moment = _moment(world.answers[0])
        if moment is None:
            hint = "Write it like `'2024-01-01 06:00'`."
            return Finding(ok=False, expected=expected, found=f"`{world.answers[0]}` is no date.", hint=hint)
        if moment == info.run_after:
            return Finding(ok=True, expected=expected)
        early = info.data_interval.start
        hint = "A run handles an interval of data, and starts when that interval is over."
        if moment == early:
            hint = f"That is its logical date: the beginning of its interval. {hint}"
        return Finding(ok=False, expected=expected, found=f"{moment:%Y-%m-%d %H:%M} is not it.", hint=hint)


def _moment(answer: Any) -> datetime | None:
    try:
        return as_utc(answer if isinstance(answer, datetime) else datetime.fromisoformat(str(answer).strip()))
    except ValueError:
        return None


def _names(names: frozenset[str]) -> str:
    shown = [f"`{name}`" for name in sorted(names)]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _state(state: TaskState | None) -> str:
    return "not there" if state is None else state.value
