"""The outputs of a notebook after its execution, with a real kernel and real widgets."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

CELL = """
from datetime import UTC, datetime
from nbflow.ui.live import LiveGraph
from nbflow.views.graph import GraphView, TaskView

def graph(state, **task):
    load = TaskView(task_id="load", state=state, **task)
    return GraphView(dag_id="sales", tasks=(load,), run="run 1", run_state=state)

live = LiveGraph(graph("running"), now=lambda: datetime.now(UTC))
live.show()
live.update(graph("success", duration=0.5))
live.finish()
"""


def test_a_saved_notebook_holds_the_final_picture_and_no_widget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a cell that shows a live run, when nbclient has executed it, then its output is the final picture."""
    import nbclient
    import nbformat

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=60, resources={"metadata": {"path": str(Path.cwd())}}
    ).execute()
    [output] = notebook.cells[0].outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert output["data"]["text/plain"] == (
        "DAG sales · run 1 success\nTASK  STATE    NOTE\nload  success  0.5 s\nsuccess 1"
    )
    assert 'src="data:image/svg+xml;base64,' in output["data"]["text/html"]
