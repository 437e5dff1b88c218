"""One run, driven through the pure core: no store, no clock, no workers.

The test chooses the order of events; the outcome of each attempt is fixed beforehand as a function of the instance and
the try. So a test can check that the result of a run does not depend on the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from nbflow.core import attempt_events as ev
from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, ReadyTask, plan_dispatch
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import AddInstances, DropInstance, Move, Op, Plan, RunMove, advance
from nbflow.core.run_changes import first_instances
from nbflow.core.snapshot import PreviousRun, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import LIVE, RUN_FINISHED, UNFINISHED, RunState, TaskState, check_move, check_run_move
from nbflow.sim.executor import outcome_event
from nbflow.sim.outcomes import Outcomes
from nbflow.sim.random_dags import START

NO_LIMITS = Limits(slots=None, pools={"default_pool": -1, "small": -1, "tiny": -1})
Result = tuple[str, dict[str, str]]


class Drive:
    """The run of a DAG. Call ``decide`` after every change; ``working`` holds the attempts that may end next."""

    def __init__(self, dag: DagSpec, outcomes: Outcomes, *, previous: PreviousRun | None = None) -> None:
        run = Run(
            dag_id=dag.dag_id,
            run_id="r",
            state=RunState.RUNNING,
            logical_date=START,
            run_after=START + timedelta(hours=1),
            start_date=START + timedelta(hours=1),
        )
        rows = first_instances(dag)
        self.snapshot = Snapshot(dag=dag, run=run, instances={ti.key: ti for ti in rows}, previous=previous)
        self.outcomes = outcomes
        self.now = run.run_after
        self.attempts = 0
        self.working: dict[TaskKey, str] = {}
        self.attempt_counts: Counter[tuple[TaskKey, int]] = Counter()
        self.executions: Counter[TaskKey] = Counter()
        self.checks: list[Callable[[Drive, Plan], None]] = []
        self.wake: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.snapshot.run.state in RUN_FINISHED

    @property
    def result(self) -> Result:
        """The part of the result that must not depend on the order of events."""
        return (
            self.snapshot.run.state.value,
            {str(key): ti.state.value for key, ti in sorted(self.snapshot.instances.items())},
        )

    def apply(self, ops: Iterable[Op]) -> None:
        """Advance by operations, each of which must be in the tables of transitions."""
        ops = list(ops)
        for op in ops:
            if isinstance(op, Move):
                check_move(op.source, op.cause, op.target)
            elif isinstance(op, RunMove):
                check_run_move(op.source, op.cause, op.target)
        self.snapshot = advance(self.snapshot, ops)

    def decide(self) -> Plan:
        """Plan once, run every check on the plan, and apply it."""
        plan = plan_run(self.snapshot, self.now)
        for check in self.checks:
            check(self, plan)
        self.apply(plan.ops)
        self.wake = plan.wake_at
        for key in [key for key in self.working if self.snapshot.instances[key].state not in LIVE]:
            del self.working[key]
        return plan

    def ready(self) -> list[ReadyTask]:
        dag, run = self.snapshot.dag, self.snapshot.run
        return [
            ReadyTask(run=run, task=dag.tasks[key.task_id], instance=ti, dag_max_active_tasks=10**6)
            for key, ti in self.snapshot.instances.items()
            if ti.state is TaskState.SCHEDULED
        ]

    def dispatch(self) -> None:
        """Queue all scheduled instances; each gets an attempt, as from a store."""
        plan = plan_dispatch(self.ready(), Limits(slots=None, pools=NO_LIMITS.pools), self.now)
        self.apply(plan.ops)
        for move in plan.moves:
            if move.target is TaskState.QUEUED:
                self.attempts += 1
                name = Move(
                    run=move.run,
                    key=move.key,
                    source=TaskState.QUEUED,
                    target=TaskState.QUEUED,
                    cause=move.cause,
                    at=self.now,
                    changes={"attempt_id": f"a{self.attempts}"},
                )
                self.snapshot = advance(self.snapshot, [name])
                self.working[move.key] = f"a{self.attempts}"

    def end(self, key: TaskKey) -> ev.Event:
        """End an attempt with its outcome; returns its event."""
        attempt_id = self.working.pop(key)
        ti = self.snapshot.instances[key]
        if ti.state is TaskState.DEFERRED:
            event: ev.Event = ev.TriggerFired(attempt_id=attempt_id, at=self.now)
        else:
            attempt_index = self.attempt_counts[key, ti.try_number]
            self.attempt_counts[key, ti.try_number] += 1
            if attempt_index == 0:
                self.executions[key] += 1
            dag = self.snapshot.dag
            behaviour = self.outcomes.of(
                dag, self.snapshot.run, dag.tasks[key.task_id], key, ti.try_number, attempt_index
            )
            event = outcome_event(behaviour, attempt_id, self.now, self.now)
        plan = handle_event(self.snapshot, key, event)
        assert plan.refused is None, plan.refused
        self.apply(plan.ops)
        if isinstance(event, ev.Deferred):
            self.working[key] = attempt_id
        return event

    def step(self, choose: Callable[[list[TaskKey]], TaskKey]) -> bool:
        """Decide, dispatch, and end one of the attempts (or advance the time). False: the run cannot continue."""
        self.decide()
        self.dispatch()
        if self.ended:
            return False
        if self.working:
            self.now += timedelta(seconds=1)
            self.end(choose(sorted(self.working)))
            return True
        if self.wake is None:
            return False
        self.now = self.wake
        return True

    def run(self, choose: Callable[[list[TaskKey]], TaskKey], *, max_steps: int = 10_000) -> Result:
        """Step until the run cannot continue."""
        for _ in range(max_steps):
            if not self.step(choose):
                return self.result
        raise AssertionError(f"no end after {max_steps} steps: {self.result}")

    def unfinished(self) -> set[TaskKey]:
        return {key for key, ti in self.snapshot.instances.items() if ti.state in UNFINISHED}


def prefixes(ops: tuple[Op, ...]) -> Iterable[tuple[Op, ...]]:
    """The parts of a plan that a crash may leave applied. An expansion (drop and add) is one step of every store."""
    for end in range(len(ops)):
        if not (end and isinstance(ops[end - 1], DropInstance) and isinstance(ops[end], AddInstances)):
            yield ops[:end]
