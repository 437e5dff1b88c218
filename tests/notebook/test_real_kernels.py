"""Notebooks in real kernels: executed by nbclient and papermill, and killed while a run is under way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbflow.app import App
from nbflow.core.states import RUN_FINISHED
from tests.gates import Gate
from tests.notebook.conftest import until
from tests.notebook.notebooks import notebook

pytestmark = [pytest.mark.kernel, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(180)]

SETUP = "%load_ext nbflow\nfrom nbflow import task"
SALES = """\
%%dag sales --schedule @daily
@task
def extract():
    return [1, 2, 3]

@task
def load(rows):
    return sum(rows)

load(extract())
"""


@pytest.fixture
def kernel_environment(jupyter_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Kernels that this process starts get the test's home and no settings of the user's."""
    for name, value in jupyter_environment.items():
        monkeypatch.setenv(name, value)
    return jupyter_environment


def executed(*cells: str, folder: Path) -> Any:
    """The notebook of these cells after nbclient ran it."""
    from nbclient import NotebookClient

    book = nbformat.reads(notebook(*cells), as_version=4)
    NotebookClient(book, timeout=90, resources={"metadata": {"path": str(folder)}}).execute()
    return book


def shown(cell: Any) -> list[dict[str, Any]]:
    return [dict(output.data) for output in cell.outputs if "data" in output]


def test_a_dag_notebook_runs_end_to_end(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook that defines a DAG, runs it in the scheduler's processes, and waits
    book = executed(
        SETUP, SALES, "run = %dag run sales", "print(run.wait(60), run.states)", "await run", folder=tmp_path
    )
    _, dag, run, wait, again = book.cells
    # Then the run ended well
    assert wait.outputs[0].text == "success {'extract': 'success', 'load': 'success'}\n"
    assert again.outputs[0].data["text/plain"] == "'success'"
    # And every picture is there as an image and as text; that of the run shows its end, and no widget is left
    said, graph = shown(run)
    assert said["text/plain"].startswith("Started a scheduler (pid ")
    for data in (*shown(dag), graph):
        assert data.keys() == {"text/html", "text/plain"}
        assert 'src="data:image/svg+xml;base64,' in data["text/html"]
    assert "success 2" in graph["text/plain"]


def test_text_outputs_of_a_run_show_its_end(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook whose outputs should stay small
    small = f"{SETUP}\n%config NbflowMagics.save_output = False"
    # When it runs a DAG and waits, in the scheduler's processes and in the kernel
    book = executed(small, SALES, "%dag run sales --wait", "%dag test sales", folder=tmp_path)
    # Then each output is text alone, and shows the end of its run
    (dag,), (said, run), (test,) = map(shown, book.cells[1:])
    assert [data.keys() for data in (dag, said, run, test)] == [{"text/plain"}] * 4
    assert ["success 2" in data["text/plain"] for data in (dag, run, test)] == [False, True, True]


def test_a_mistake_stops_nbclient_with_one_line(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook with a mistake, and a cell after it
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    # When nbclient executes it, it stops
    book = nbformat.reads(notebook("%load_ext nbflow", "%dag show nobody", "1"), as_version=4)
    with pytest.raises(CellExecutionError):
        NotebookClient(book, timeout=90, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # Then the error is one line of ours, and the cell after it has not run
    [error] = book.cells[1].outputs
    assert error.traceback == ["\x1b[31mError: There is no DAG 'nobody'. See: %dag list.\x1b[0m"]
    assert book.cells[2].outputs == []


def test_a_mistake_stops_papermill_with_one_line(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook whose DAG cell cannot stand alone
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    source.write_text(notebook(SETUP, "df = 1", "%%dag a\nprint(df)", "print('went on')"))
    # When papermill executes it, it stops
    with pytest.raises(PapermillExecutionError):
        papermill.execute_notebook(str(source), str(target), progress_bar=False)
    # Then the output notebook has the one line, and nothing ran after it
    cells = nbformat.read(target, as_version=4).cells
    [error] = [output for cell in cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert error.traceback == [
        "\x1b[31mError: In [3], line 2: This cell uses 'df', which only In [2] defines. A DAG cell must stand alone. "
        "Define it here, or begin In [2] with %%dag --shared.\x1b[0m"
    ]
    assert "went on" not in target.read_text().replace("print('went on')", "")


@pytest.fixture
def kernel(kernel_environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """A real kernel: (manager, client)."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)


def test_a_breakpoint_in_a_test_stops_below_the_graph(kernel: Any) -> None:
    # Given a kernel, in which no debugger is attached, and a task with a breakpoint
    _, client = kernel
    stops = "%%dag a\n@task\ndef stops():\n    x = 41\n    breakpoint()\n    print('x is', x)\nstops()"
    for source in (SETUP, stops):
        client.execute_interactive(source, timeout=60, output_hook=lambda message: None)
    shown: list[dict[str, Any]] = []
    before_the_prompt: list[str] = []
    answers = iter(["p x + 1", "c"])

    def answer(_: Any) -> None:
        before_the_prompt[:] = before_the_prompt or [message["msg_type"] for message in shown]
        client.input(next(answers))

    # When it is tested, and the prompt is answered
    reply = client.execute_interactive(
        "run = %dag test a\nrun.state", timeout=60, allow_stdin=True, output_hook=shown.append, stdin_hook=answer
    )
    # Then the graph was there before it stopped, the debugger saw the task's own frame, and the graph has the end
    assert reply["content"]["status"] == "ok", reply
    assert "display_data" in before_the_prompt
    printed = "".join(m["content"]["text"] for m in shown if m["msg_type"] == "stream")
    assert "42\n" in printed
    assert printed.endswith("x is 41\n")
    last = [m for m in shown if m["msg_type"] == "update_display_data"][-1]["content"]["data"]
    assert "success 1" in last["text/plain"]


def test_a_run_outlives_its_kernel(kernel: Any, own_home: Path, tmp_path: Path) -> None:
    # Given a kernel that has started a run whose task waits at a gate
    manager, client = kernel
    path = tmp_path / "go on"
    gate = Gate(path)
    waits = f"""\
%%dag slow
import fcntl
@task
def waits():
    with open({str(path)!r}) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
@task
def after(x): ...
after(waits())"""
    for source in (SETUP, waits, "run = %dag run slow"):
        reply = client.execute_interactive(source, timeout=60, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok", reply
    with App.open(home=own_home) as app:
        [run] = app.store.runs("slow")

        def states() -> dict[str, str]:
            return {one.task_id: one.state.value for one in app.store.instances(run.key)}

        until("the task runs", lambda: states().get("waits") == "running")
        # When the kernel is killed with its whole process group, and then the gate is opened
        os.killpg(os.getpgid(manager.provisioner.process.pid), signal.SIGKILL)
        until("the kernel is gone", lambda: manager.provisioner.process.poll() is not None)
        gate.open()
        # Then the run goes on to its end
        until("the run ends", lambda: (app.store.run(run.key) or run).state in RUN_FINISHED)
        assert states() == {"waits": "success", "after": "success"}


def test_the_scheduler_runs_a_notebook_with_no_kernel_alive(own_home: Path) -> None:
    # Given a notebook in the DAGs folder with a DAG that is unpaused and due once, and no kernel
    from nbflow.services import schedulers

    (own_home / "dags").mkdir(exist_ok=True)
    cells = (SETUP, "%%dag --shared\ndef helper(x):\n    return x * 2", SALES.replace("sum(rows)", "helper(sum(rows))"))
    text = notebook(*cells, "raise SystemExit('a cell that must not run')")
    text = text.replace("--schedule @daily", "--schedule @once --start 2024-01-01 --unpaused")
    (own_home / "dags" / "report.ipynb").write_text(text)
    # When the scheduler is started
    with App.open(home=own_home) as app:
        started = schedulers.ensure(app)
        assert started.started
        # Then it finds the DAG, makes its run, and the run ends well
        found = until("the run ended", lambda: [r for r in app.store.runs("sales") if r.state in RUN_FINISHED])
        assert [run.state.value for run in found] == ["success"]
        version = app.store.version("sales")
        assert version is not None
        assert (version.fileloc, version.cell) == (str(own_home / "dags" / "report.ipynb"), "cell 3")
        assert app.store.import_errors() == []


def test_a_notebook_on_a_schedule_is_run_by_papermill(own_home: Path, tmp_path: Path) -> None:
    # Given a notebook with a parameter, scheduled, and the scheduler that has read the file
    from nbflow.notebook import run, schedule, unpause
    from nbflow.notebook.session import session
    from nbflow.services import schedulers

    source = tmp_path / "report.ipynb"
    book = nbformat.reads(notebook("country = 'FR'", "print('report for', country)"), as_version=4)
    book.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(book, source)
    schedule(str(source), cron="0 6 * * *", parameters={"country": "DE"})
    here = session()
    schedulers.ensure(here.app)
    until("the file is read", lambda: here.app.store.dag("report"))
    unpause("report")
    # When it runs
    handle = run("report")
    assert handle.wait(120) == "success", handle.logs().data
    # Then the executed notebook is kept, and was given the parameter
    [kept] = here.app.settings.notebook.output_folder.rglob("run-try1.ipynb")
    assert "report for DE\n" in [output.text for cell in nbformat.read(kept, 4).cells for output in cell.outputs]
