"""Shell commands, and the operator behind ``@task.bash``.

What comes from outside the DAG file (``dag_run.conf``, an XCom, a params form) does not belong into the command's text,
where a quote or a ``;`` in it would be read by the shell. Pass it by ``env``, and quote the variable in the command::

    BashOperator(task_id="get", bash_command='curl -f "$URL"', env={"URL": "{{ dag_run.conf.url }}"}, append_env=True)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.errors import AirflowException, AirflowSkipException
from nbflow.operators.base import BaseOperator
from nbflow.operators.python import CallsFunction
from nbflow.operators.subprocesses import Subprocess

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


def _unchanged(text: str) -> Any:
    return text


class BashOperator(BaseOperator):
    """Runs ``bash_command`` by bash; the last line that it writes is the task's result.

    ``env`` is the command's whole environment (default: that of this process), or with ``append_env`` added to it; the
    ``AIRFLOW_CTX_*`` variables name the run in both. An exit code in ``skip_on_exit_code`` skips the task, any other
    than 0 fails it. ``cwd`` defaults to a new temporary folder. A command that is the name of a ``.sh`` file is a
    template file. ``output_processor`` makes the result from the last line.
    """

    template_fields: Sequence[str] = ("bash_command", "env", "cwd")
    template_fields_renderers = {"bash_command": "bash", "env": "json"}
    template_ext: Sequence[str] = (".sh", ".bash")
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command: str,
        env: Mapping[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Container[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] = _unchanged,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.append_env = append_env
        self.output_encoding = output_encoding
        self.skip_on_exit_code = _codes(skip_on_exit_code)
        self.cwd = cwd
        self.output_processor = output_processor
        self._program: Subprocess | None = None

    def execute(self, context: Context) -> Any:
        if not isinstance(self.bash_command, str):
            raise AirflowException(f"bash_command must be text, not {type(self.bash_command).__name__}.")
        if self.cwd is not None:
            if not os.path.isdir(self.cwd):
                raise AirflowException(f"cwd of {self.task_id}: there is no folder {self.cwd}.")
            return self._run(context, self.cwd)
        with tempfile.TemporaryDirectory(prefix="nbflow-") as folder:
            return self._run(context, folder)

    def _run(self, context: Context, cwd: str) -> Any:
        bash = shutil.which("bash") or "bash"
        self._program = Subprocess(own_process=context["ti"].own_process)
        self.log.info("Running: %s", self.bash_command)
        ended = self._program.run(
            [bash, "-c", self.bash_command],
            log=self.log,
            env=self.environment(context),
            cwd=cwd,
            encoding=self.output_encoding,
        )
        self.log.info("The command ended with exit code %s.", ended.exit_code)
        if ended.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Bash command returned exit code {ended.exit_code}. Skipping.")
        if ended.exit_code != 0:
            raise AirflowException(
                f"Bash command failed. The command returned a non-zero exit code {ended.exit_code}."
                + (f" Its last line: {ended.last_line[:200]}" if ended.last_line else "")
            )
        return self.output_processor(ended.last_line)

    def environment(self, context: Context) -> dict[str, str]:
        """What the command finds in its environment."""
        base = {} if self.env is not None and not self.append_env else dict(os.environ)
        return {**base, **context_variables(context), **{key: str(value) for key, value in (self.env or {}).items()}}

    def on_kill(self) -> None:
        if self._program is not None:
            self._program.terminate()


def _codes(codes: int | Container[int] | None) -> Container[int]:
    return (codes,) if isinstance(codes, int) else () if codes is None else codes


def context_variables(context: Context) -> dict[str, str]:
    """``AIRFLOW_CTX_...``: which run and try this is, for programs."""
    ti = context["ti"]
    moment = ti.run.logical_date
    logical = {} if moment is None else {"LOGICAL_DATE": moment.isoformat(), "EXECUTION_DATE": moment.isoformat()}
    named = {
        "DAG_OWNER": str(ti.task.owner),
        "DAG_ID": ti.dag_id,
        "TASK_ID": ti.task_id,
        "TRY_NUMBER": str(ti.try_number),
        "DAG_RUN_ID": ti.run_id,
        **logical,
    }
    return {f"AIRFLOW_CTX_{name}": value for name, value in named.items()}


class DecoratedBashOperator(CallsFunction, BashOperator):
    """``@task.bash``: the function returns the command, which is then rendered and run."""

    custom_operator_name = "@task.bash"
    template_fields: Sequence[str] = (*BashOperator.template_fields, "op_args", "op_kwargs")

    def __init__(
        self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(bash_command="", **kwargs)
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}

    def execute(self, context: Context) -> Any:
        command = self.call(context)
        if not isinstance(command, str) or not command.strip():
            raise AirflowException(f"The function of @task.bash {self.task_id} must return a command, not {command!r}.")
        self.bash_command = self.render_template(command, context)
        return super().execute(context)
