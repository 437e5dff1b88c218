"""Percent-format files: the same cells as in jupytext, with the lines of the file."""

from __future__ import annotations

import textwrap
from pathlib import Path

import jupytext
import pytest

from nbflow.sources.loading import load_source
from nbflow.sources.notebooks import percent_cells

DAG_CELL = "from nbflow import task\n@task\ndef t(): ...\nt()\n"

LIKE_JUPYTEXT = {
    "titles": "# %% first\nx = 1\n# %% second: [a] {b}\ny = 2\n",
    "no marker at the top": "import os\n# %%\nx = 1\n",
    "a module's head": '"""A report."""\n\nimport os\n\n# %%\nx = 1\n',
    "prose": "# %% [markdown]\n# # Title\n# %% [md]\n# a\n# %% [raw]\n# b\n# %%\nx = 1\n",
    "prose with a title and tags": '# %% title [markdown] tags=["a"]\n# text\n# %%\nx = 1\n',
    "prose in a string": '# %% [markdown]\n"""\n# %% inside\n# %%dag x\n"""\n# %%\nx = 1\n',
    "prose that shows a DAG cell": "# %% [markdown]\n# Write:\n#\n# %%dag example\n# t()\n\n# %%\nx = 1\n",
    "metadata": '# %% tags=["parameters"]\nx = 1\n# %% named {"a": 1} key="v"\ny = 1\n',
    "a marker in a string": 'x = """\n# %% not one\n# %%dag x\n"""\n# %%\ny = 2\n',
    "a magic": "# %%\n# %%dag a --schedule @daily\nx = 1\n# %%\n# %%dag\ny = 1\n",
    "a magic without a blank": "#%%\n#%%dag a\nx = 1\n",
    "a magic that is not commented": "# %%\n%%dag a\nx = 1\n# %%\ny = 1\n",
    "levels": "# %% one\nx = 1\n# %%% two\ny = 2\n# %%%% [markdown]\n# three\n# %%% four\nz = 3\n",
    "many blanks": "#   %%   one\nx = 1\n#\t%%\ty\ny = 1\n",
    "Windows' line ends": "# %%\r\n# %%dag a\r\nx = 1\r\n# %%\r\ny = 1\r\n",
    "an open string": "# %%\nx = 1\n# %%\ny = '''\n# %%\nz = 1\n",
    "text that is not a marker": "# %%\nx = 1\n#%% \n# %%, no\ny = 1\n# % %\n# x %%\n",
}


@pytest.mark.parametrize("name", LIKE_JUPYTEXT)
def test_cells_are_those_that_jupytext_reads(name: str) -> None:
    # Given a percent file
    text = LIKE_JUPYTEXT[name]
    # When its cells are read by jupytext and by nbflow
    expected = [cell.source for cell in jupytext.reads(text, fmt="py:percent").cells if cell.cell_type == "code"]
    cells = percent_cells(text, "f.py")
    # Then they are the same, except for blank lines around them
    assert [cell.source.strip() for cell in cells if cell.source.strip()] == [text.strip() for text in expected if text]
    # And each begins at its line of the file
    lines = text.splitlines()
    for cell in cells:
        first = next(iter(cell.source.strip().splitlines()), "")
        rest = [line for line in lines[cell.first_line - 1 :] if line.strip()]
        assert first == "" or rest[0].removeprefix("# ").removeprefix("#") == first.removeprefix("# ")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("# %%\n# # %%dag a\nx = 1\n", ["plain"]),  # jupytext writes a magic that is commented out in this way
        ("# %%\n# # %%dag a\n# %%dag b\nx = 1\n", ["plain", "dag"]),
        ("# %%\n\n# %%dag a\nx = 1\n", ["dag"]),
        ("# %%\nx = 1\n# %%dag a\ny = 1\n", ["plain", "dag"]),
        ("# %% [markdown]\n# text\n# %%dag a\nx = 1\n", ["dag"]),
        ("if x:\n    # %% no cell ends in a block\n    y = 1\n# %%dag a\n", ["plain", "dag"]),
        ("# %%[markdown]\n# as VS Code writes it\n# %%\nx = 1\n", ["plain"]),
        ("# %%\n# %%bash\n# %%dag a\n", ["plain", "dag"]),
    ],
)
def test_which_cells_are_dag_cells(text: str, kinds: list[str]) -> None:
    assert [cell.kind for cell in percent_cells(text, "f.py") if cell.source.strip()] == kinds


def test_a_line_of_a_string_that_looks_like_a_magic_is_unchanged() -> None:
    [cell] = [cell for cell in percent_cells('# %%dag a\nx = """\n# %%dag b\n"""\n', "f.py") if cell.kind == "dag"]
    assert cell.body == 'x = """\n# %%dag b\n"""'


HEADS = {
    "none": "",
    "jupytext's": "# ---\n# jupyter:\n#   jupytext:\n#     text_representation: {extension: .py}\n# ---\n\n",
    "prose": '# %% [markdown]\n# # Title\n# %%dag shown\n\n# %%\n"""\n# %% no\n"""\n\n',
    "a form feed": "# %%\nx = 1\n\x0c\n# %%\ny = '\x1c \x85 \u2028'\n",
    "Windows' line ends": "# %%\r\nx = 1\r\n\r\n",
}
INVALID = {
    "a syntax error": "# %%\n# %%dag a\nx = 1\ny = = 2\n",
    "an error": "# %%\n# %%dag a\nx = 1\ny = 1 / 0\n",
    "an unknown name": "# %% the title\n# %%dag a\nx = 1\nnowhere\n",
    "an error after a form feed": "# %%\n# %%dag a\n\x0c\nnowhere\n",
    "an error of the DAG": "# %%\n# %%dag a\nfrom nbflow import task\ntask.bash_operator\n",
    "a magic": "# %%\n\n\n# %%dag a --schedul @daily\nx = 1\n",
    "an error in a helper": "# %%\n# %%dag --shared\nx = 1\n1 / 0\n# %%\n# %%dag a\nx\n",
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("error", INVALID)
def test_errors_have_the_line_of_the_file(tmp_path: Path, head: str, error: str) -> None:
    # Given a percent file with an error in the fourth line after its head
    text = HEADS[head] + INVALID[error]
    file = tmp_path / "report.py"
    file.write_bytes(text.encode())
    # When it is loaded
    loaded = load_source(file)
    # Then the error has that line, as an editor counts it
    assert [error.line for error in loaded.import_errors] == [HEADS[head].count("\n") + 4], loaded.import_errors


def test_a_task_of_a_percent_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "report.py"
    file.write_text(textwrap.dedent(f"# %% [markdown]\n# Title\n\n# %%\n# %%dag a\n{DAG_CELL}"))
    [dag] = load_source(file).dags
    assert [(task.task_id, task.place.file, task.place.line) for task in dag.tasks] == [("t", str(file), 9)]
