"""Triggering a run of another DAG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbflow.authoring.context import warn_old_name
from nbflow.errors import (
    AirflowException,
    AirflowRescheduleException,
    AirflowSkipException,
    DagRunAlreadyExists,
    InvalidArgument,
)
from nbflow.operators.base import BaseOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

XCOM_RUN_ID = "trigger_run_id"


class TriggerDagRunOperator(BaseOperator):
    """Triggers a run of ``trigger_dag_id`` with ``conf``; the XCom ``trigger_run_id`` is its id.

    ``wait_for_completion`` waits until the run has ended; the task is rescheduled every ``poke_interval`` seconds and
    does not occupy a slot between. A run in one of ``failed_states`` fails the task. ``reset_dag_run`` clears an
    existing run of the same id or logical date; ``skip_when_already_exists`` skips the task instead of failing it.
    ``logical_date`` is a datetime or ISO 8601 text; ``execution_date`` is its name in Airflow 2. ``deferrable`` is
    accepted but has no effect yet.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "trigger_run_id", "logical_date", "conf", "wait_for_completion")
    template_fields_renderers = {"conf": "py"}
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: Mapping[str, Any] | None = None,
        logical_date: str | datetime | None = None,
        execution_date: str | datetime | None = None,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        skip_when_already_exists: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if execution_date is not None:
            warn_old_name("execution_date")
        self.trigger_dag_id = trigger_dag_id
        self.trigger_run_id = trigger_run_id
        self.conf = conf
        self.logical_date = _as_template(logical_date if logical_date is not None else execution_date, self.task_id)
        self.reset_dag_run = reset_dag_run
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.allowed_states = [str(state) for state in allowed_states or ("success",)]
        self.failed_states = [str(state) for state in failed_states or ("failed",)]
        self.skip_when_already_exists = skip_when_already_exists

    def execute(self, context: Context) -> None:
        ti = context["ti"]
        run_id = ti.xcom_pull(key=XCOM_RUN_ID) if ti.workload.continues else None
        if run_id is None:
            run_id = self._trigger(context)
        if self.wait_for_completion:
            self._check_run(context, run_id)

    def _trigger(self, context: Context) -> str:
        ti = context["ti"]
        if self.conf is not None and not isinstance(self.conf, Mapping):
            raise AirflowException(f"conf of {self.task_id} must be a dict, not {self.conf!r}.")
        try:
            run = ti.runtime.trigger_dag(
                self.trigger_dag_id,
                run_id=self.trigger_run_id,
                logical_date=_parsed_date(self.logical_date, self.task_id),
                conf=self.conf,
                reset=self.reset_dag_run,
            )
        except DagRunAlreadyExists as error:
            if self.skip_when_already_exists:
                raise AirflowSkipException(str(error)) from error
            raise
        ti.xcom_push(XCOM_RUN_ID, run.run_id)
        self.log.info("Triggered %s @ %s", self.trigger_dag_id, run.run_id)
        return str(run.run_id)

    def _check_run(self, context: Context, run_id: str) -> None:
        """Return if the run is in one of ``allowed_states``; otherwise fail, or reschedule the task."""
        runtime = context["ti"].runtime
        states = set(runtime.run_states(self.trigger_dag_id, [], run_id=run_id))
        if not states:
            raise AirflowException(f"Run {run_id} of {self.trigger_dag_id} does not exist any more.")
        if states & set(self.failed_states):
            raise AirflowException(f"{self.trigger_dag_id} @ {run_id} is {', '.join(sorted(states))}.")
        if not states <= set(self.allowed_states):
            self.log.info("%s @ %s is %s.", self.trigger_dag_id, run_id, ", ".join(sorted(states)))
            raise AirflowRescheduleException(runtime.now() + timedelta(seconds=self.poke_interval))


def _as_template(moment: Any, task_id: str) -> Any:
    if moment is None or isinstance(moment, str) or hasattr(moment, "resolve"):
        return moment  # a template, or the result of a task
    if isinstance(moment, datetime):
        return moment.isoformat()
    raise InvalidArgument(f"logical_date of {task_id} must be a datetime or ISO 8601 text, not {moment!r}.")


def _parsed_date(text: str | datetime | None, task_id: str) -> datetime | None:
    """Parse the rendered date; UTC if it has no time zone."""
    if not text:
        return None
    from datetime import UTC

    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise AirflowException(f"logical_date of {task_id} is {text!r}, which is not an ISO 8601 date.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
