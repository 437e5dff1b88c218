"""Shell commands, and the operator of ``@task.bash``.

Do not render values from outside the DAG file (``dag_run.conf``, an XCom, a params form) into the command, because the
shell would interpret a quote or a ``;`` in them. Pass them by ``env``, and quote the variable in the command::

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
    """Runs ``bash_command`` by bash; the last line of its output is the task's result.

    ``env`` replaces the environment of this process or, with ``append_env``, is added to it; ``AIRFLOW_CTX_*``
    variables that name the run are added in both cases. An exit code in ``skip_on_exit_code`` skips the task, any other
    than 0 fails it. ``cwd`` defaults to a new temporary folder. A command that ends in ``.sh`` or ``.bash`` is the name
    of a template file. ``output_processor`` converts the last line to the result.
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
        self._subprocess: Subprocess | None = None

    def execute(self, context: Context) -> Any:
        if not isinstance(self.bash_command, str):
            raise AirflowException(f"bash_command must be text, not {type(self.bash_command).__name__}.")
        if self.cwd is not None:
            if not os.path.isdir(self.cwd):
                raise AirflowException(f"cwd of {self.task_id}: folder {self.cwd} does not exist.")
            return self._run(context, self.cwd)
        with tempfile.TemporaryDirectory(prefix="nbflow-") as folder:
            return self._run(context, folder)

    def _run(self, context: Context, cwd: str) -> Any:
        bash = shutil.which("bash") or "bash"
        self._subprocess = Subprocess(own_process=context["ti"].own_process)
        self.log.info("Running: %s", self.bash_command)
        result = self._subprocess.run(
            [bash, "-c", self.bash_command],
            log=self.log,
            env=self.environment(context),
            cwd=cwd,
            encoding=self.output_encoding,
        )
        self.log.info("The command exited with code %s.", result.exit_code)
        if result.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Bash command returned exit code {result.exit_code}. Skipping.")
        if result.exit_code != 0:
            raise AirflowException(
                f"Bash command failed. The command returned a non-zero exit code {result.exit_code}."
                + (f" Its last line: {result.last_line[:200]}" if result.last_line else "")
            )
        return self.output_processor(result.last_line)

    def environment(self, context: Context) -> dict[str, str]:
        """The environment of the command."""
        base = {} if self.env is not None and not self.append_env else dict(os.environ)
        return {**base, **context_variables(context), **{key: str(value) for key, value in (self.env or {}).items()}}

    def on_kill(self) -> None:
        if self._subprocess is not None:
            self._subprocess.terminate()


def _codes(codes: int | Container[int] | None) -> Container[int]:
    return (codes,) if isinstance(codes, int) else () if codes is None else codes


def context_variables(context: Context) -> dict[str, str]:
    """``AIRFLOW_CTX_...``: environment variables that name the run and the try."""
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
    """``@task.bash``: the function returns the command, which is rendered and run."""

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
