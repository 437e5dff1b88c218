"""Notebooks as tasks, in a real kernel."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbflow import DAG, task
from nbflow.authoring.taskinstance import TaskInstance
from nbflow.authoring.workload import Workload
from nbflow.core.attempt_events import Failed, Succeeded
from nbflow.core.states import Cause
from nbflow.operators.notebook import NotebookOperator, PapermillOperator, failed_cell, write_html
from nbflow.operators.notebook_results import GLUE_MIME, glued_results
from nbflow.secrets_masker import Masker
from tests.operators.test_bash import has_exited
from tests.running.memory import MemoryRuntime, attempt

pytestmark = pytest.mark.kernel


def a_notebook(path: Path, *cells: str, parameters: str = "n = 1") -> Path:
    """A notebook with a title, a cell of parameters and these code cells."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    all_cells = [nbformat.v4.new_markdown_cell("# Title"), first, *map(nbformat.v4.new_code_cell, cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=all_cells, metadata=kernel), path)
    return path


@pytest.fixture
def notebooks(home: Path) -> Path:
    """The folder of executed notebooks."""
    return home / "notebooks"


def test_a_notebook_runs_with_parameters_and_returns_results(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    source = a_notebook(
        tmp_path / "re{port}.ipynb",
        "from nbflow import glue\nimport os",
        "glue('double', [n * 2, day])\nglue('where', os.path.basename(os.getcwd()), display=False)",
    )

    @task
    def numbers() -> int:
        return 21

    n = numbers()
    PapermillOperator(task_id="t", input_nb=str(source), parameters={"n": n, "day": "{{ ds }}"})
    attempt(dag, "numbers", runtime)

    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)
    assert runtime.stored("t") == {"double": [42, "2024-01-01"], "where": tmp_path.name}
    executed = Path(runtime.stored("t", "output_nb"))
    assert executed == notebooks / "d" / "scheduled__2024-01-01T00:00:00+00:00".replace(" ", "") / "t-try1.ipynb"
    page = Path(runtime.stored("t", "output_html")).read_text()
    assert "Title" in page
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*https?:", page) == []


def test_a_failing_cell_is_named_and_the_executed_notebook_is_stored(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    source = a_notebook(tmp_path / "report.ipynb", "print('ran')", "# why\ntotal = n / 0", "print('never')")
    NotebookOperator(task_id="t", input_nb=source, parameters={"n": 3})

    event = attempt(dag, "t", runtime, try_number=2).event

    assert isinstance(event, Failed)
    assert event.error == ("AirflowException: report.ipynb, cell 4 (# why) failed: ZeroDivisionError: division by zero")
    assert event.retry
    executed = nbformat.read(runtime.stored("t", "output_nb"), as_version=4)
    assert "ran" in str(executed)
    assert Path(runtime.stored("t", "output_html")).name == "t-try2.html"


VALUES = """
import datetime as dt, math, pathlib, uuid
from decimal import Decimal
VALUES = {
    "tuple": (1, (2, "x")), "bytes": b"x", "set": {1, 2}, "day": dt.date(2024, 1, 1), "delta": dt.timedelta(1),
    "moment": dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), "decimal": Decimal("1.1"), "path": pathlib.Path("data"),
    "uuid": uuid.UUID(int=7), "infinite": math.inf, "nested": [{"k": (1,)}],
    "text": "quotes ' and \\\\n end", "none": None,
    "tagged": {"__type__": "tuple", "value": [1]},
}
"""


def test_a_parameter_arrives_as_an_xcom_carries_it(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    # Given parameters of every kind that an XCom carries
    import json
    import math

    import numpy as np

    values: dict[str, Any] = {}
    exec(VALUES, values)
    parameters = {"g": values["VALUES"], "t": (1, 2), "nan": math.nan, "five": np.int64(5)}
    check = "glue('equal', [g == VALUES, t == (1, 2), nan != nan, five])\nglue('kind', type(g['tuple'][1]).__name__)"
    glue = "from nbflow import glue\n"
    source = a_notebook(tmp_path / "p.ipynb", VALUES, glue + check, parameters="g = t = nan = five = 0")
    NotebookOperator(task_id="t", input_nb=source, parameters=parameters, html=False)
    # When the notebook runs
    event = attempt(dag, "t", runtime).event
    # Then they are equal there
    assert isinstance(event, Succeeded), event
    assert runtime.stored("t") == {"equal": [True, True, True, 5], "kind": "tuple"}

    # And the executed notebook is JSON
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(Path(runtime.stored("t", "output_nb")).read_text(), parse_constant=refuse)


def test_a_parameter_that_no_xcom_carries_is_named(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    source = a_notebook(tmp_path / "p.ipynb")
    NotebookOperator(task_id="t", input_nb=source, parameters={"g": [object()]})
    event = attempt(dag, "t", runtime).event
    assert isinstance(event, Failed)
    assert event.error.startswith("SerializationError: parameter 'g' of task 't'[0]: a value of type object cannot")


def test_a_cell_with_the_tag_raises_exception_may_raise(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    # Given a notebook whose cell raises, as its tag allows
    source = a_notebook(tmp_path / "r.ipynb", "1 / 0", "from nbflow import glue\nglue('ok', 1)")
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[2].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, source)
    NotebookOperator(task_id="t", input_nb=source, html=False)
    # When it runs, then the task succeeds, and the stored notebook has no cells of papermill's for errors
    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)
    assert runtime.stored("t") == {"ok": 1}
    executed = nbformat.read(runtime.stored("t", "output_nb"), as_version=4)
    assert [cell.source for cell in executed.cells] == [cell.source for cell in notebook.cells]


def test_a_kernel_that_dies_is_an_error_that_names_the_cell(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    source = a_notebook(tmp_path / "k.ipynb", "import os", "# boom\nos._exit(1)")
    NotebookOperator(task_id="t", input_nb=source, html=False)
    event = attempt(dag, "t", runtime).event
    assert isinstance(event, Failed)
    assert event.error == "AirflowException: k.ipynb: the kernel died in cell 4 (# boom)."


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"cells": 3}', "{}"])
def test_a_file_that_is_no_notebook_is_an_error_that_names_it(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path, text: str
) -> None:
    (tmp_path / "n.ipynb").write_text(text)
    NotebookOperator(task_id="t", input_nb=tmp_path / "n.ipynb")
    event = attempt(dag, "t", runtime).event
    assert isinstance(event, Failed)
    expected = f"AirflowException: {tmp_path / 'n.ipynb'} of task 't' is not a notebook (JSON of nbformat 4)."
    assert event.error == expected


def test_an_executed_notebook_holds_no_secret_and_only_its_owner_can_read_it(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    # Given a task that passes a secret to a notebook, which prints it and glues it
    runtime.masker = Masker(["hunter2hunter2"])
    source = a_notebook(
        tmp_path / "report.ipynb",
        "from nbflow import glue\nprint('the key', key)\nglue('key', key)\nraise ValueError(key)",
    )
    NotebookOperator(task_id="t", input_nb=source, parameters={"key": "hunter2hunter2"})
    # When it has failed
    event = attempt(dag, "t", runtime).event
    # Then neither the error nor the stored files show it
    assert isinstance(event, Failed)
    assert event.error.endswith("failed: ValueError: ***")
    files = [path for path in notebooks.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".html", ".ipynb"]
    assert [path.name for path in files if "hunter2" in path.read_text()] == []
    assert "the key ***" in files[0].read_text()
    # And their folders, up to the home, are private
    folders = [notebooks, *(path for path in notebooks.rglob("*") if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


def test_the_kernel_ends_with_the_task(dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path) -> None:
    source = a_notebook(
        tmp_path / "long.ipynb",
        f"import os, pathlib, signal\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\nsignal.pause()",
    )
    import signal

    from nbflow.errors import AirflowTaskTimeout

    def end(*_: Any) -> None:
        raise AirflowTaskTimeout("the kernel is executing the cell")

    NotebookOperator(task_id="t", input_nb=source, html=False, execution_timeout=timedelta(seconds=60))
    before = signal.signal(signal.SIGUSR1, end)
    try:
        event = attempt(dag, "t", runtime).event
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert isinstance(event, Failed)
    assert event.cause is Cause.EXECUTION_TIMEOUT
    assert has_exited(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("run_id", ["../../../etc/x", "..", "a/b", "{0}", "a\x00b", ".hidden", "x" * 400])
def test_a_hostile_run_id_cannot_change_the_folder(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path, run_id: str
) -> None:
    runtime.run = replace(runtime.run, run_id=run_id)
    operator = NotebookOperator(task_id="t", input_nb="x.ipynb")
    workload = Workload(attempt_id="a", run=runtime.run, task_id="t")
    ti = TaskInstance(dag=dag, task=operator, workload=workload, runtime=runtime, started=runtime.now())

    target = operator._target(ti.context)

    assert target.resolve() == target
    assert (target.parent.parent, target.name) == (notebooks / "d", "t-try1.ipynb")


def test_the_decorator_passes_the_returned_parameters(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path
) -> None:
    source = a_notebook(tmp_path / "p.ipynb", "from nbflow import glue\nglue('n', n)")
    target = tmp_path / "out" / "p.ipynb"

    @task.notebook(input_nb=str(source), output_nb=str(target), html=False)
    def t(ds: Any = None) -> dict[str, Any]:
        return {"n": ds}

    t()
    attempt(dag, "t", runtime)

    assert (runtime.stored("t"), target.exists()) == ({"n": "2024-01-01"}, True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"input_nb": "missing.ipynb"}, "AirflowException: Notebook missing.ipynb of task t was not found at "),
        ({"kernel_name": "no-such"}, "AirflowException: k.ipynb needs the kernel 'no-such', which is not installed"),
    ],
)
def test_a_missing_notebook_or_kernel_is_named(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path, notebooks: Path, arguments: Any, error: str
) -> None:
    source = a_notebook(tmp_path / "k.ipynb", "1")
    NotebookOperator(task_id="t", **{"input_nb": source, **arguments})

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith(error)


def test_the_last_result_of_a_name_is_read_from_the_outputs() -> None:
    def shown(mime: str, name: str, data: Any) -> Any:
        return {"cells": [{"outputs": [{"output_type": "display_data", "data": {mime: {"name": name, "data": data}}}]}]}

    first, second = shown(GLUE_MIME, "a", 1), shown(GLUE_MIME, "a", {"__type__": "tuple", "value": [1]})
    scrap = shown("application/scrapbook.scrap.json+json", "b", {"x": 1})

    assert glued_results({"cells": [*first["cells"], *second["cells"], *scrap["cells"], {"source": "x"}]}) == {
        "a": (1,),
        "b": {"x": 1},
    }
    assert glued_results({}) == {}


def test_a_cells_number_counts_the_notebooks_own_cells() -> None:
    class Error:
        ename, evalue = "E", "v"

    error = {"output_type": "error"}
    cells = [
        {"metadata": {"tags": ["papermill-error-cell-tag"]}, "source": "banner"},
        {"source": "a", "outputs": []},
        {"metadata": {"tags": ["injected-parameters"]}, "source": "n = 1", "outputs": []},
        {"source": "\n  b\nc", "outputs": [error]},
    ]

    assert failed_cell({"cells": cells}, Error()) == "cell 2 (b) failed: E: v"


def test_a_page_has_only_the_scripts_of_outputs(tmp_path: Path) -> None:
    output = nbformat.v4.new_output("display_data", data={"text/html": "<script>plot()</script>"})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    nbformat.write(book, tmp_path / "n.ipynb")

    page = write_html(tmp_path / "n.ipynb").read_text()

    assert re.findall(r"<script[^>]*>", page) == ["<script>"]
