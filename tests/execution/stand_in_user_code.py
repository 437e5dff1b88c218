"""A stand-in for nbflow's user code functions: a "DAG" is the namespace of a source text, a task a function in it.

It runs in the processes below the supervisor, so their tests need neither operators nor a DAG.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from nbflow.authoring.workload import Outcome, Workload
from nbflow.core.attempt_events import Failed, Succeeded
from nbflow.execution.fork_server import UserCode, main
from nbflow.execution.task_client import TaskClient, utc_now
from nbflow.variables import Variable


class Namespace:
    def __init__(self, source: Mapping[str, Any]) -> None:
        self.error, self.spec = "", None
        self.dag: dict[str, Any] | None = {"Variable": Variable}
        try:
            exec("\n".join(source["version"]["files"].values()), self.dag)
        except Exception as error:
            self.error, self.dag = f"{type(error).__name__}: {error}", None
        else:
            self.spec = self.dag.get("SPEC")

    def report(self) -> dict[str, Any]:
        return {"error": self.error, "detail": "", "spec": self.spec}


def run(dag: dict[str, Any], workload: Workload, runtime: TaskClient, limits: Mapping[str, Any]) -> Outcome:
    try:
        value = dag[workload.task_id](runtime)
        if value is not None:
            runtime.xcom_push("return_value", value)
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        return Outcome(event=Failed(attempt_id=workload.attempt_id, at=utc_now(), error=text))
    return Outcome(event=Succeeded(attempt_id=workload.attempt_id, at=utc_now()))


def start() -> None:
    main(UserCode(load=Namespace, run=run))
