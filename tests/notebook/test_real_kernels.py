"""Notebooks in real kernels: executed by nbclient and papermill, and killed during a run."""

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
    """The environment of kernels that this process starts: the test's home, without the user's settings."""
    for name, value in jupyter_environment.items():
        monkeypatch.setenv(name, value)
    return jupyter_environment


def execute(*cells: str, folder: Path, **options: Any) -> Any:
    """Execute a notebook with these cells by nbclient; returns it with its outputs. ``options``: of the client."""
    from nbclient import NotebookClient

    book = nbformat.reads(notebook(*cells), as_version=4)
    NotebookClient(book, timeout=90, resources={"metadata": {"path": str(folder)}}, **options).execute()
    return book


def displayed(cell: Any) -> list[dict[str, Any]]:
    return [dict(output.data) for output in cell.outputs if "data" in output]


def test_a_dag_notebook_runs_end_to_end(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook that defines a DAG, runs it with the scheduler, and waits
    book = execute(
        SETUP, SALES, "run = %dag run sales", "print(run.wait(60), run.states)", "await run", folder=tmp_path
    )
    _, dag, run, wait, again = book.cells
    # Then the run has succeeded
    assert wait.outputs[0].text == "success {'extract': 'success', 'load': 'success'}\n"
    assert again.outputs[0].data["text/plain"] == "'success'"
    # And every graph is an image and a text without a widget; the graph of the run shows its end
    message, graph = displayed(run)
    assert message["text/plain"].startswith("Started a scheduler (pid ")
    for data in (*displayed(dag), graph):
        assert data.keys() == {"text/html", "text/plain"}
        assert 'src="data:image/svg+xml;base64,' in data["text/html"]
    assert "success 2" in graph["text/plain"]


TOUCH_AT_END = """
import threading
from pathlib import Path
def touch_at_end(handle, path):
    handle.show_once()
    follower = handle._follower.thread
    threading.Thread(target=lambda: (follower.join(), Path(path).touch())).start()
"""


def test_an_end_between_two_cells_is_stored_by_the_cell_that_waits(
    kernel_environment: dict[str, str], tmp_path: Path
) -> None:
    # Given a run and a backfill which end, and whose outputs are updated, before the next cell is executed
    cells = (
        SETUP + TOUCH_AT_END,
        SALES,
        "run = %dag run sales\ntouch_at_end(run, 'run')",
        "run.wait(60)",
        "past = %dag backfill sales 2024-01-01 2024-01-02\ntouch_at_end(past, 'backfill')",
        "await past",
    )

    def await_update(cell_index: int, **_: Any) -> None:
        if file := {2: "run", 4: "backfill"}.get(cell_index):
            until(f"the output of the {file} is updated", (tmp_path / file).exists, seconds=80)

    # When the next cell waits for that end
    book = execute(*cells, folder=tmp_path, on_cell_executed=await_update)
    # Then the stored outputs show it, without a widget
    for index in (2, 4):
        *_, data = displayed(book.cells[index])
        assert data.keys() == {"text/html", "text/plain"}
        assert "success 2" in data["text/plain"]


def test_text_outputs_of_a_run_show_its_end(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook whose outputs should stay small
    small = f"{SETUP}\n%config NbflowMagics.save_output = False"
    # When it runs a DAG and waits, in the scheduler's processes and in the kernel
    book = execute(small, SALES, "%dag run sales --wait", "%dag test sales", folder=tmp_path)
    # Then each output is text alone, and shows the end of its run
    (dag,), (message, run), (test,) = map(displayed, book.cells[1:])
    assert [data.keys() for data in (dag, message, run, test)] == [{"text/plain"}] * 4
    assert ["success 2" in data["text/plain"] for data in (dag, run, test)] == [False, True, True]


def test_a_mistake_stops_nbclient_with_one_line(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook with a mistake, and a cell after it
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    # When nbclient executes it, then it stops
    book = nbformat.reads(notebook("%load_ext nbflow", "%dag show nobody", "1"), as_version=4)
    with pytest.raises(CellExecutionError):
        NotebookClient(book, timeout=90, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # And the error is one line, and the next cell has not run
    [error] = book.cells[1].outputs
    assert error.traceback == ["\x1b[31mError: There is no DAG 'nobody'. See: %dag list.\x1b[0m"]
    assert book.cells[2].outputs == []


def test_a_mistake_stops_papermill_with_one_line(kernel_environment: dict[str, str], tmp_path: Path) -> None:
    # Given a notebook whose DAG cell is not self-contained
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    source.write_text(notebook(SETUP, "df = 1", "%%dag a\nprint(df)", "print('next cell')"))
    # When papermill executes it, then it stops
    with pytest.raises(PapermillExecutionError):
        papermill.execute_notebook(str(source), str(target), progress_bar=False)
    # And the error in the output notebook is one line, and the next cell has not run
    cells = nbformat.read(target, as_version=4).cells
    [error] = [output for cell in cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert error.traceback == [
        "\x1b[31mError: In [3], line 2: This cell uses 'df', which only In [2] defines. A DAG cell must stand alone. "
        "Define it here, or begin In [2] with %%dag --shared.\x1b[0m"
    ]
    assert "next cell" not in target.read_text().replace("print('next cell')", "")


@pytest.fixture
def kernel(kernel_environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """A running kernel: (manager, client)."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)


def test_a_breakpoint_in_a_dag_test_opens_pdb_below_the_graph(kernel: Any) -> None:
    # Given a kernel without an attached debugger, and a task with a breakpoint
    _, client = kernel
    stops = "%%dag a\n@task\ndef stops():\n    x = 41\n    breakpoint()\n    print('x is', x)\nstops()"
    for source in (SETUP, stops):
        client.execute_interactive(source, timeout=60, output_hook=lambda message: None)
    messages: list[dict[str, Any]] = []
    before_the_prompt: list[str] = []
    commands = iter(["p x + 1", "c"])

    def answer(_: Any) -> None:
        before_the_prompt[:] = before_the_prompt or [message["msg_type"] for message in messages]
        client.input(next(commands))

    # When it is tested, and commands are typed into pdb
    reply = client.execute_interactive(
        "run = %dag test a\nrun.state", timeout=60, allow_stdin=True, output_hook=messages.append, stdin_hook=answer
    )
    # Then the graph is displayed before the prompt, pdb is in the frame of the task, and the graph shows the end
    assert reply["content"]["status"] == "ok", reply
    assert "display_data" in before_the_prompt
    printed = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    assert "42\n" in printed
    assert printed.endswith("x is 41\n")
    last = [m for m in messages if m["msg_type"] == "update_display_data"][-1]["content"]["data"]
    assert "success 1" in last["text/plain"]


def test_a_run_outlives_its_kernel(kernel: Any, notebook_home: Path, tmp_path: Path) -> None:
    # Given a kernel that has started a run whose task waits at a gate
    manager, client = kernel
    path = tmp_path / "continue"
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
    with App.open(home=notebook_home) as app:
        [run] = app.store.runs("slow")

        def states() -> dict[str, str]:
            return {ti.task_id: ti.state.value for ti in app.store.instances(run.key)}

        until("the task runs", lambda: states().get("waits") == "running")
        # When the process group of the kernel is killed, and then the gate is opened
        os.killpg(os.getpgid(manager.provisioner.process.pid), signal.SIGKILL)
        until("the kernel has exited", lambda: manager.provisioner.process.poll() is not None)
        gate.open()
        # Then the run continues to its end
        until("the run ends", lambda: (app.store.run(run.key) or run).state in RUN_FINISHED)
        assert states() == {"waits": "success", "after": "success"}


def test_the_scheduler_runs_a_dag_of_a_notebook_without_a_kernel(notebook_home: Path) -> None:
    # Given a notebook in the DAGs folder with an unpaused @once DAG, and no kernel
    from nbflow.services import schedulers

    (notebook_home / "dags").mkdir(exist_ok=True)
    cells = (SETUP, "%%dag --shared\ndef helper(x):\n    return x * 2", SALES.replace("sum(rows)", "helper(sum(rows))"))
    text = notebook(*cells, "raise SystemExit('a cell that must not run')")
    text = text.replace("--schedule @daily", "--schedule @once --start 2024-01-01 --unpaused")
    (notebook_home / "dags" / "report.ipynb").write_text(text)
    # When the scheduler is started
    with App.open(home=notebook_home) as app:
        assert schedulers.ensure(app).started
        # Then it parses the DAG and creates its run, and the run succeeds
        runs = until("the run has ended", lambda: [r for r in app.store.runs("sales") if r.state in RUN_FINISHED])
        assert [run.state.value for run in runs] == ["success"]
        version = app.store.version("sales")
        assert version is not None
        assert (version.fileloc, version.cell) == (str(notebook_home / "dags" / "report.ipynb"), "cell 3")
        assert app.store.import_errors() == []


def test_papermill_runs_a_scheduled_notebook(notebook_home: Path, tmp_path: Path) -> None:
    # Given a scheduled notebook with a parameter, whose DAG file the scheduler has parsed
    from nbflow.notebook import run, schedule, unpause
    from nbflow.notebook.session import current_session
    from nbflow.services import schedulers

    source = tmp_path / "report.ipynb"
    book = nbformat.reads(notebook("country = 'FR'", "print('report for', country)"), as_version=4)
    book.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(book, source)
    schedule(str(source), cron="0 6 * * *", parameters={"country": "DE"})
    session = current_session()
    schedulers.ensure(session.app)
    until("the file is parsed", lambda: session.app.store.dag("report"))
    unpause("report")
    # When it runs
    handle = run("report")
    assert handle.wait(120) == "success", handle.logs().data
    # Then the executed notebook is saved, with the output for the parameter
    [executed] = session.app.settings.notebook.output_folder.rglob("run-try1.ipynb")
    assert "report for DE\n" in [output.text for cell in nbformat.read(executed, 4).cells for output in cell.outputs]
