"""Notebooks as tasks, run by papermill, and the operator of ``@task.notebook``.

The executed notebook of every try is stored, with an HTML page that needs no network. The values that cells pass to
:func:`nbflow.glue` become the task's result. The kernel is a subprocess, which ends with the task.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow import serde
from nbflow.authoring.taskinstance import plain
from nbflow.config import Settings, make_private
from nbflow.errors import AirflowException, MissingExtra
from nbflow.execution.logs import safe_name
from nbflow.operators.base import BaseOperator
from nbflow.operators.notebook_results import glued_results
from nbflow.operators.python import CallsFunction

if TYPE_CHECKING:
    from nbflow.authoring.context import Context
    from nbflow.secrets_masker import Masker

_TEMPLATE_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class NotebookOperator(BaseOperator):
    """Executes ``input_nb``; ``parameters`` override those in its cell with the tag ``parameters``.

    A relative path is relative to the folder of the DAG file. ``output_nb`` is the path of the executed notebook
    (default: ``<[notebook] output_folder>/<dag>/<run>/<task>-try<n>.ipynb``); the HTML page has the same path with the
    suffix ``.html``. ``kernel_name`` defaults to ``[notebook] kernel_name``, else to the kernel that the notebook
    names. ``cwd`` defaults to the notebook's folder.

    The result is a dict of the values that the notebook glued; the XComs ``output_nb`` and ``output_html`` are the
    paths of the files.
    """

    template_fields: Sequence[str] = ("input_nb", "output_nb", "parameters", "kernel_name", "language_name", "cwd")
    template_fields_renderers = {"parameters": "json"}
    ui_color = "#fde8cf"

    def __init__(
        self,
        *,
        input_nb: str | os.PathLike[str],
        output_nb: str | os.PathLike[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        kernel_name: str | None = None,
        language_name: str | None = None,
        cwd: str | None = None,
        html: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_nb = os.fspath(input_nb)
        self.output_nb = None if output_nb is None else os.fspath(output_nb)
        self.parameters = parameters
        self.kernel_name = kernel_name
        self.language_name = language_name
        self.cwd = cwd
        self.html = html

    def execute(self, context: Context) -> dict[str, Any]:
        source, target = self._source(), self._target(context)
        make_private(target.parent)
        ti = context["ti"]
        ti.xcom_push("output_nb", str(target))
        self.log.info("Executing %s into %s", source, target)
        results: dict[str, Any] = {}
        try:
            self._run(source, target)
            results = glued_results(_read(target))
        finally:
            if target.exists():
                _mask(target, ti.runtime.masker)
                if self.html:
                    page = write_html(target)
                    ti.xcom_push("output_html", str(page))
        return results

    def _source(self) -> Path:
        folder = getattr(self.dag, "folder", "") or "."
        source = Path(folder, self.input_nb).resolve()
        if not source.is_file():
            raise AirflowException(f"Notebook {self.input_nb} of task {self.task_id} was not found at {source}.")
        return source

    def _target(self, context: Context) -> Path:
        if self.output_nb:
            return Path(self.output_nb).resolve()
        ti = context["ti"]
        index = f"[{ti.map_index}]" if ti.map_index >= 0 else ""
        folder = Settings.load(os.environ).notebook.output_folder / safe_name(ti.dag_id) / safe_name(ti.run_id)
        return folder / f"{safe_name(ti.task_id)}{index}-try{ti.try_number}.ipynb"

    def _run(self, source: Path, target: Path) -> None:
        try:
            import papermill
            from jupyter_client.kernelspec import NoSuchKernel
            from nbclient.exceptions import DeadKernelError
            from papermill.exceptions import PapermillExecutionError
        except ImportError:
            raise MissingExtra("A notebook that runs as a task", "papermill", "lab") from None
        try:
            kernel_name, language = self._kernel(source)
            parameters = self._encoded_parameters(language)
            _translate_tagged_values()
            _run_with_kernel(
                lambda manager_class: papermill.execute_notebook(
                    _escaped(source),
                    _escaped(target),
                    parameters=parameters,
                    kernel_name=kernel_name,
                    language=language,
                    cwd=self.cwd or str(source.parent),
                    progress_bar=False,
                    log_output=True,
                    kernel_manager_class=manager_class,
                )
            )
        except NoSuchKernel as error:
            raise AirflowException(
                f"{source.name} needs the kernel {error.name!r}, which is not installed.",
                hint="Install it, or pass kernel_name=.",
            ) from None
        except DeadKernelError:
            raise AirflowException(f"{source.name}: the kernel died{_in_cell(target)}.") from None
        except PapermillExecutionError as error:
            if not _has_unexpected_error(_read(target)):
                _remove_error_markers(target)
                return
            self.log.error("%s", _ANSI.sub("", "\n".join(error.traceback)))
            raise AirflowException(f"{source.name}, {failed_cell(_read(target), error)}") from None

    def _encoded_parameters(self, language: str) -> dict[str, Any]:
        """The parameters as JSON: what an XCom carries arrives in a Python notebook as itself.

        Raises SerializationError, which names task, parameter and type, for other values."""
        encoded = {}
        for name, value in (self.parameters or {}).items():
            parameter = f"parameter {name!r} of task {self.task_id!r}"
            encoded[name] = serde.encode(plain(value), parameter)
            if language.lower() != "python" and _holds_tag(encoded[name]):
                raise AirflowException(
                    f"{parameter}: a {type(value).__name__} cannot be passed to a notebook in {language}.",
                    hint="Pass text, finite numbers, lists and dicts of them.",
                )
        return encoded

    def _kernel(self, source: Path) -> tuple[str, str]:
        """Name and language of the kernel: that of the argument, the setting or the notebook. Raises NoSuchKernel, and
        AirflowException for a file that is no notebook."""
        from jupyter_client.kernelspec import KernelSpecManager
        from nbformat import ValidationError

        try:
            metadata = _read(source).metadata
        except (ValidationError, ValueError, TypeError, AttributeError, KeyError):
            raise AirflowException(
                f"{self.input_nb} of task {self.task_id!r} is not a notebook (JSON of nbformat 4)."
            ) from None
        default = metadata.get("kernelspec", {}).get("name") or "python3"
        name = self.kernel_name or Settings.load(os.environ).notebook.kernel_name or default
        language = KernelSpecManager().get_kernel_spec(name).language
        return name, self.language_name or language


class PapermillOperator(NotebookOperator):
    """Airflow's name of NotebookOperator."""


class DecoratedNotebookOperator(CallsFunction, NotebookOperator):
    """``@task.notebook(input_nb=...)``: the function returns the notebook's parameters (a dict, or None)."""

    custom_operator_name = "@task.notebook"
    template_fields: Sequence[str] = (*NotebookOperator.template_fields, "op_args", "op_kwargs")

    def __init__(
        self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}

    def execute(self, context: Context) -> dict[str, Any]:
        parameters = self.call(context)
        if parameters is not None and not isinstance(parameters, Mapping):
            raise AirflowException(
                f"The function of @task.notebook {self.task_id} must return a dict of parameters, not {parameters!r}."
            )
        self.parameters = {**(self.parameters or {}), **(parameters or {})}
        return super().execute(context)


def _run_with_kernel(run: Callable[[type], Any]) -> None:
    """Call ``run`` in a thread, with the kernel manager class to use. An exception while waiting kills the kernel.

    nbclient runs an event loop, which swallows an exception that a signal handler raises inside one of its callbacks;
    in the main thread a time limit or a SIGTERM would sometimes be lost.
    """
    from jupyter_client.manager import AsyncKernelManager

    managers: list[Any] = []
    errors: list[BaseException] = []

    class RecordedKernelManager(AsyncKernelManager):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # Unix sockets in a private folder: other users of the machine could connect to the kernel's TCP ports.
            self.transport, self.ip = "ipc", os.path.join(sockets, "kernel")
            managers.append(self)

    def run_in_thread() -> None:
        try:
            run(RecordedKernelManager)
        except BaseException as error:
            errors.append(error)

    with tempfile.TemporaryDirectory(prefix="nbflow-", ignore_cleanup_errors=True) as sockets:
        thread = threading.Thread(target=run_in_thread, name="nbflow-notebook", daemon=True)
        thread.start()
        try:
            thread.join()
        except BaseException:
            for _ in range(100):  # the kernel may be starting, so kill again until the thread ends, for 10 s at most
                _kill(managers)
                thread.join(0.1)
                if not thread.is_alive():
                    break
            raise
    if errors:
        raise errors[0]


def _kill(managers: Sequence[Any]) -> None:
    """Kill the kernels and their subprocesses (each kernel leads a session), and wait for their exit."""
    for manager in managers:
        pid = getattr(manager.provisioner, "pid", None)
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.killpg(pid, signal.SIGKILL)
                if hasattr(os, "waitid"):
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the kernel's provisioner reaps it


def _holds_tag(encoded: Any) -> bool:
    """Whether JSON of :func:`nbflow.serde.encode` holds a value that plain JSON does not have."""
    if isinstance(encoded, dict):
        return serde.TAG in encoded or any(map(_holds_tag, encoded.values()))
    return isinstance(encoded, list) and any(map(_holds_tag, encoded))


def _translate_tagged_values() -> None:
    """Let papermill write a typed value of :mod:`nbflow.serde` as an expression that decodes it in the notebook."""
    from papermill.translators import PythonTranslator, papermill_translators

    class Translator(PythonTranslator):  # type: ignore[misc]
        @classmethod
        def translate(cls, val: Any) -> str:
            if isinstance(val, dict) and serde.TAG in val:
                return f"__import__('nbflow.serde').serde.decode({val!r})"
            return str(super().translate(val))

    papermill_translators.register("python", Translator)


def _error_outputs(cell: Mapping[str, Any]) -> bool:
    return any(output.get("output_type") == "error" for output in cell.get("outputs", ()))


def _may_raise(cell: Mapping[str, Any]) -> bool:
    """Whether the cell has Jupyter's tag for an expected error."""
    return "raises-exception" in cell.get("metadata", {}).get("tags", ())


def _has_unexpected_error(notebook: Mapping[str, Any]) -> bool:
    return any(_error_outputs(cell) and not _may_raise(cell) for cell in notebook.get("cells", ()))


def _remove_error_markers(path: Path) -> None:
    """Remove the cells that papermill added because a cell raised."""
    import nbformat
    from papermill.execute import remove_error_markers

    nbformat.write(remove_error_markers(_read(path)), path)  # type: ignore[no-untyped-call]


def _in_cell(executed: Path) -> str:
    """``" in cell 3 (load())"``: the last cell that was started; empty if there is none.

    papermill calls it completed even if the kernel died."""
    started = [
        f" in cell {number} ({_first_line(cell)})"
        for number, cell in (_own_cells(_read(executed)) if executed.exists() else ())
        if cell.get("metadata", {}).get("papermill", {}).get("status") in ("running", "completed", "failed")
    ]
    return started[-1] if started else ""


def _own_cells(notebook: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The cells, counted from 1, without papermill's."""
    number = 0
    for cell in notebook.get("cells", ()):
        tags = cell.get("metadata", {}).get("tags", ())
        if "injected-parameters" not in tags and "papermill-error-cell-tag" not in tags:
            number += 1
            yield number, cell


def _first_line(cell: Mapping[str, Any]) -> str:
    lines = [line.strip() for line in str(cell.get("source", "")).splitlines() if line.strip()]
    return lines[0][:80] if lines else ""


def failed_cell(notebook: Mapping[str, Any], error: Any) -> str:
    """``cell 3 (total = sum(rows)) failed: NameError: ...``; counts the cells from 1, without papermill's."""
    for number, cell in _own_cells(notebook):
        for output in cell.get("outputs", ()):
            if output.get("output_type") == "error" and not _may_raise(cell):
                name, value = output.get("ename", error.ename), output.get("evalue", error.evalue)
                return f"cell {number} ({_first_line(cell)}) failed: {name}: {value}"
    return f"a cell failed: {error.ename}: {error.evalue}"


def write_html(notebook: Path) -> Path:
    """Write the notebook as an HTML page in its folder. Returns the path. The page loads nothing from the network.

    nbconvert's page loads MathJax and other scripts from a CDN: these scripts, all in the head, are removed. The
    outputs of cells are unchanged.
    """
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="lab", embed_images=True).from_notebook_node(_read(notebook))
    head, end_of_head, rest = body.partition("</head>")
    page = notebook.with_suffix(".html")
    page.write_text(f"{_TEMPLATE_SCRIPT.sub('', head)}{end_of_head}{rest}", encoding="utf-8")
    return page


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def _mask(path: Path, masker: Masker | None) -> None:
    """Mask the secrets that the task was given in an executed notebook: in its parameters, sources and outputs."""
    import nbformat

    if masker is None or not masker.forms:
        return
    notebook = _read(path)
    notebook.update(nbformat.from_dict(masker.mask_value(dict(notebook))))  # type: ignore[no-untyped-call]
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


def _escaped(path: Path) -> str:
    """The path with escaped braces, which papermill would interpret as a template."""
    return str(path).replace("{", "{{").replace("}", "}}")
