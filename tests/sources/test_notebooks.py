"""Notebooks and percent-format files as DAG files, without a kernel."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.sources.loading import Loaded, compiled, load_source
from nbflow.sources.notebooks import dag_sources, notebook_cells, notebook_version_text, read_notebook
from tests.notebook.notebooks import notebook

SETUP = "%load_ext nbflow\nimport json\nfrom nbflow import task"
SALES = """\
%%dag sales --schedule @daily --start 2024-01-01 --catchup
@task
def extract():
    return json.dumps([1, 2])

@task
def load(rows):
    return rows

load(extract())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "report.ipynb"


def load(file: Path, *cells: str) -> Loaded:
    file.write_text(notebook(*cells))
    return load_source(file)


def errors(loaded: Loaded) -> list[tuple[str | None, int | None, str]]:
    return [(error.cell, error.line, error.message) for error in loaded.import_errors]


def only_error(loaded: Loaded) -> tuple[str | None, int | None, str]:
    [error] = errors(loaded)
    return error


# -------------------------------------------------------------------------------------------------------- DAGs of cells


def test_a_dag_cell_is_a_dag_with_the_arguments_of_its_line(file: Path) -> None:
    # Given a notebook with imports, a DAG cell, and a cell that must never run
    loaded = load(file, SETUP, SALES, "raise SystemExit('ran')\n%dag run sales")
    # Then the DAG has the arguments of the line and the tasks of the body
    assert errors(loaded) == []
    [spec] = loaded.specs.values()
    assert (spec.dag_id, spec.schedule_text, spec.catchup) == ("sales", "@daily", True)
    assert spec.start_date == datetime(2024, 1, 1, tzinfo=UTC)
    assert {task.task_id: task.upstream for task in spec.tasks.values()} == {"extract": (), "load": ("extract",)}


def test_the_dag_of_a_cell_has_the_folder_of_its_notebook(file: Path) -> None:
    # Given a DAG cell
    [dag] = load(file, SETUP, SALES).dags
    # Then its folder is that of the notebook, and its place names the cell
    assert dag.folder == str(file.parent)
    assert (dag.place.file, dag.place.line) == (f"{file}#cell 2", 1)


def test_every_option_reaches_the_dag(file: Path) -> None:
    # Given a cell that uses all of them
    line = (
        '%%dag full --schedule "0 6 * * *" --start 2024-01-01 --end 2024-12-31T12:00 --timezone Europe/Berlin '
        "--no-catchup --description 'each morning' --tags a,b --tags c --owner ada --retries 3 --retry-delay 5min "
        "--timeout 2h --max-active-runs 1 --max-active-tasks=4 --param rows=10 -p country=DE --unpaused --fail-fast"
    )
    [spec] = load(file, SETUP, f"{line}\n@task\ndef a(): ...\na()").specs.values()
    # Then the compiled DAG has these values
    assert (spec.schedule_text, spec.timezone, spec.catchup) == ("0 6 * * *", "Europe/Berlin", False)
    assert spec.start_date == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert spec.end_date == datetime(2024, 12, 31, 11, tzinfo=UTC)
    assert (spec.description, spec.tags, spec.owners) == ("each morning", ("a", "b", "c"), ("ada",))
    assert (spec.tasks["a"].retries, spec.tasks["a"].retry_delay, spec.dagrun_timeout) == (3, 300.0, 7200.0)
    assert (spec.max_active_runs, spec.max_active_tasks, spec.fail_fast) == (1, 4, True)
    assert {name: param["value"] for name, param in spec.params.items()} == {"rows": 10, "country": "DE"}
    assert spec.is_paused_upon_creation is False


def test_a_time_zone_applies_without_a_date(file: Path) -> None:
    # Given a schedule in a time zone, and no start date
    [spec] = load(file, '%%dag a --schedule "0 6 * * *" --timezone Europe/Berlin').specs.values()
    # Then the schedule is read in that zone
    assert (spec.timezone, spec.schedule["timezone"]) == ("Europe/Berlin", "Europe/Berlin")


def test_a_cell_whose_body_defines_a_dag_registers_that_dag(file: Path) -> None:
    # Given DAG cells with a `with DAG`, a called @dag function, and one whose line names no DAG
    loaded = load(
        file,
        "from nbflow import DAG, dag, task\nfrom datetime import datetime",
        "%%dag first\nwith DAG('first', schedule='@hourly') as pipeline:\n    task(lambda: 1, task_id='one')()",
        "%%dag\n@dag(schedule='@weekly')\ndef second():\n    task(lambda: 1, task_id='two')()\nsecond()",
    )
    # Then these DAGs are registered, with their own arguments
    assert errors(loaded) == []
    assert {name: spec.schedule_text for name, spec in loaded.specs.items()} == {
        "first": "@hourly",
        "second": "@weekly",
    }


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("%%dag a --retries 2", "DAG('a')\nd = DAG('b')", "so --retries of %%dag would have no effect"),
        ("%%dag a", "d = DAG('b')", "%%dag names 'a', but the cell defines DAG 'b'"),
        ("%%dag a", "d = DAG('a')\ntask(lambda: 1, task_id='x')()", "and the task 'x' outside of it"),
        ("%%dag a", "from nbflow import dag\n@dag\ndef f(): ...", "f is a @dag function that is never called"),
        ("%%dag", "x = 1", "This cell does not define a DAG"),
    ],
)
def test_a_cell_with_a_contradiction_or_without_a_dag_is_refused(
    file: Path, line: str, body: str, message: str
) -> None:
    # Given a line and a body that contradict each other, or define no DAG
    loaded = load(file, "from nbflow import DAG, task", f"{line}\n{body}")
    # Then there is an error in that cell
    cell, _, error = only_error(loaded)
    assert cell == "cell 2"
    assert message in error


# -------------------------------------------------------------------------------------------------- code of other cells


def test_only_imports_that_the_cell_uses_run_with_it(file: Path) -> None:
    # Given an import that fails, an import that replaces an earlier one, and dotted imports that add to each other
    cells = notebook_cells(
        notebook(
            "import no_such_module, os.path\nimport collections as c",
            "import xml.dom\nimport xml.sax\nimport json as c",
            "%%dag a\nprint(c.dumps(1), os.path.sep, xml.dom, xml.sax)",
        ),
        str(file),
    )
    [source] = dag_sources(cells)
    # Then the statements run that bind the names which the cell uses
    assert source.error is None
    assert source.dependencies == (
        ("import no_such_module, os.path", "cell 1"),
        ("import xml.dom", "cell 2"),
        ("import xml.sax", "cell 2"),
        ("import json as c", "cell 2"),
    )


def test_helpers_run_with_every_dag_of_the_notebook(file: Path) -> None:
    # Given a cell of helpers that needs an import, and two DAGs
    loaded = load(
        file,
        "import json\nfrom nbflow import task",
        "%%dag --shared\ndef text(x):\n    return json.dumps(x)",
        "%%dag a\ntask(lambda: text(1), task_id='t')()\nprint(text('of a'))",
        "%%dag b\nprint(text('of b'))",
    )
    # Then both have the helpers, and the import
    assert errors(loaded) == []
    assert loaded.output == '"of a"\n"of b"\n'


def test_dags_of_one_notebook_share_no_names(file: Path) -> None:
    # Given two DAG cells that each define the same global for their tasks
    body = "TABLE = '{0}'\n@task\ndef load():\n    return TABLE\nload()"
    loaded = load(
        file, "from nbflow import task", "%%dag a\n" + body.format("sales"), "%%dag b\n" + body.format("returns")
    )
    # Then each task reads its own
    read = {dag.dag_id: dag.get_task("load").python_callable() for dag in loaded.dags}  # type: ignore[union-attr]
    assert read == {"a": "sales", "b": "returns"}


def test_postponed_annotations_of_an_earlier_cell_hold_for_the_dag(file: Path) -> None:
    # Given the future import in the first cell, and annotations with undefined names
    loaded = load(
        file,
        "from __future__ import annotations\nfrom nbflow import task",
        "%%dag --shared\ndef f(x: Nobody): ...",
        "%%dag a\n@task\ndef t(x: Nobody = None) -> AlsoNobody: ...\nt()",
    )
    # Then the annotations are text, as in the kernel
    assert errors(loaded) == []
    # And so they are in a version
    reloaded = load_source(file.with_name("gone.ipynb"), {"gone.ipynb": next(iter(loaded.files.values()))})
    assert errors(reloaded) == []


# -------------------------------------------------------------------------------------------------------- missing names


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        (
            ["df = 1", "%%dag a\n\nprint(\n  df)"],
            (
                "cell 2",
                4,
                "InvalidDag: This cell uses 'df', which only cell 1 defines. A DAG cell must stand alone. "
                "Define it here, or begin cell 1 with %%dag --shared.",
            ),
        ),
        (
            ["%%dag a\nf(g)", "def f(): ...\ng = 1"],
            (
                "cell 1",
                2,
                "InvalidDag: This cell uses 'f', which only cell 2 below defines (also 'g'). A DAG cell must "
                "stand alone. Define it here, or begin cell 2 with %%dag --shared, above this one.",
            ),
        ),
        (
            ["%%dag a\ndef f(): ...", "%%dag b\nf()"],
            (
                "cell 2",
                2,
                "InvalidDag: This cell uses 'f', which only cell 1 defines. A DAG cell must stand alone. Define it "
                "here, or move it to a cell that begins with %%dag --shared.",
            ),
        ),
        (
            ["%%dag a\nprnt(1)"],
            (
                "cell 1",
                2,
                "InvalidDag: This cell uses 'prnt', which is not defined. Did you mean 'print'?",
            ),
        ),
        (
            ["from math import *", "%%dag a\nsqrt(2)"],
            (
                "cell 2",
                2,
                "InvalidDag: This cell uses 'sqrt', which is not defined; `from math import *` of cell 1 does not "
                "run with it. Import sqrt by name.",
            ),
        ),
        (
            ["%%dag a\nfrom math import *\nsqrt(2)"],
            (
                "cell 1",
                2,
                "InvalidDag: `from math import *` hides which names the DAG cell defines. Import the names that "
                "you use.",
            ),
        ),
        (
            ["import json", "json = 3", "%%dag a\nprint(json)"],
            (
                "cell 3",
                2,
                "InvalidDag: This cell uses 'json', which only cell 2 defines. A DAG cell must stand alone. Define "
                "it here, or begin cell 2 with %%dag --shared.",
            ),
        ),
        (
            ["import json", "del json", "%%dag a\nprint(json)"],
            (
                "cell 3",
                2,
                "InvalidDag: This cell uses 'json', which cell 1 defines and a later cell deletes. Define it here.",
            ),
        ),
        (
            ["%%dag a\ndisplay(1)"],
            (
                "cell 1",
                2,
                "InvalidDag: This cell uses 'display', which only IPython defines. Import it: from IPython.display "
                "import display.",
            ),
        ),
        (
            ["df = 1", "%%dag --shared\ndef f():\n    return df", "%%dag a\nf()"],
            (
                "cell 2",
                3,
                "InvalidDag: This cell uses 'df', which only cell 1 defines. A DAG cell must stand alone. Define it "
                "here, or begin cell 1 with %%dag --shared.",
            ),
        ),
        (
            ["%%dag a\nx = 1\n!ls -l"],
            (
                "cell 1",
                3,
                "InvalidDag: `!ls -l` is IPython syntax, but the scheduler runs a DAG cell as plain Python. Use "
                "BashOperator or @task.bash, or move it to another cell.",
            ),
        ),
        (
            ["%%dag a\n%time x = 1"],
            (
                "cell 1",
                2,
                "InvalidDag: `%time x = 1` is IPython syntax, but the scheduler runs a DAG cell as plain Python. "
                "Leave it out, or move it to another cell.",
            ),
        ),
        (["%%dag a\nx = (1,\n"], ("cell 1", 2, "SyntaxError: '(' was never closed")),
        (
            ["%%dag a --scedule @daily"],
            ("cell 1", 1, "InvalidArgument: %%dag has no option --scedule. Did you mean '--schedule'?"),
        ),
        (
            ["%%dag a --schedule 0 6 * * *"],
            (
                "cell 1",
                1,
                "InvalidArgument: %%dag takes one name, not 5: a 6 * * *. Quote a cron expression: --schedule "
                '"0 6 * * *".',
            ),
        ),
        (
            ["%%dag a --retries two"],
            (
                "cell 1",
                1,
                "InvalidArgument: --retries 'two': expected an integer, not 'two'. For example: --retries 2",
            ),
        ),
    ],
)
def test_a_cell_that_does_not_stand_alone_is_an_error_with_the_reason(
    file: Path, cells: list[str], error: tuple[str, int, str]
) -> None:
    # Given a notebook whose DAG cell would fail in the scheduler
    loaded = load(file, *cells)
    # Then the error has the cell, the line, the name and what to do
    assert error in errors(loaded)


def test_an_error_in_a_cell_does_not_affect_the_other_dags(file: Path) -> None:
    # Given a notebook in which one DAG cell fails when it runs
    loaded = load(file, SETUP, "%%dag broken\n\n1 / 0", SALES)
    # Then the other DAG is loaded, and the error has cell and line
    assert [dag.dag_id for dag in loaded.dags] == ["sales"]
    assert errors(loaded) == [("cell 2", 3, "ZeroDivisionError: division by zero")]


def test_an_error_in_helpers_is_reported_once(file: Path) -> None:
    # Given helpers that fail, and two DAGs
    loaded = load(file, "%%dag --shared\n1 / 0", "%%dag a", "%%dag b")
    # Then there is one error, in the helpers' cell
    assert errors(loaded) == [("cell 1", 2, "ZeroDivisionError: division by zero")]


def test_the_traceback_of_an_error_shows_the_cell(file: Path) -> None:
    # Given a DAG cell that fails in a function
    [error] = load(file, "%%dag a\ndef f():\n    raise KeyError('here')\nf()").import_errors
    # Then the traceback has its source lines
    assert "    raise KeyError('here')" in error.detail


# ------------------------------------------------------------------------------------------------------------ the files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cells": [', "report.ipynb is not a notebook: Expecting value at line 1. Save it again."),
        ("[]", "report.ipynb is not a notebook: it is a list. Save it with Jupyter."),
        ("{}", "report.ipynb is not a notebook: it has no 'cells'. Save it with Jupyter."),
        ('{"worksheets": [], "nbformat": 3}', "report.ipynb has the old notebook format 3. Save it with Jupyter 4."),
        (
            '{"cells": [{"cell_type": "code", "source": 3}]}',
            "report.ipynb is not a notebook: a cell's source is a int. Save it with Jupyter.",
        ),
    ],
)
def test_a_broken_notebook_is_one_clear_error(file: Path, text: str, message: str) -> None:
    # Given a file that is not a notebook, or was cut off
    file.write_text(text)
    # Then there is one error with the reason
    assert errors(load_source(file)) == [(None, None, f"InvalidDag: {message}")]


@pytest.mark.parametrize("text", ["", notebook(), notebook("x = 1", "%%bash\n%%dag no"), notebook("# %%dag a")])
def test_a_notebook_without_dag_cells_is_not_an_error(file: Path, text: str) -> None:
    # Given a notebook that defines no DAG
    file.write_text(text)
    loaded = load_source(file)
    # Then it has neither DAGs nor errors
    assert (loaded.dags, loaded.import_errors) == ((), ())


PERCENT = '''\
# ---
# jupyter: {}
# ---
# %% [markdown]
# # %%dag prose --retries

# %%
# %load_ext nbflow
import json
from nbflow import task

# %%
# %%dag sales --schedule @daily
@task
def extract():
    """
# %% not a cell
    """
    return json.dumps(1)

extract()

# %%dag --shared
def helper():
    return 1

# %%
raise SystemExit("ran")

# %% the last one
# %%dag second
print(helper(), undefined)
'''


def test_percent_files_are_read_like_notebooks(tmp_path: Path) -> None:
    # Given a .py file with cells and commented magics, as jupytext writes it
    file = tmp_path / "sales.py"
    file.write_text(PERCENT)
    loaded = load_source(file)
    # Then its DAG cells define the DAGs, and errors have the lines of the file
    assert [(spec.dag_id, spec.schedule_text, list(spec.tasks)) for spec in loaded.specs.values()] == [
        ("sales", "@daily", ["extract"])
    ]
    assert errors(loaded) == [
        (
            None,
            PERCENT[: PERCENT.index("undefined")].count("\n") + 1,
            "InvalidDag: This cell uses 'undefined', which is not defined. Define or import it in this cell.",
        )
    ]


def test_a_percent_file_of_jupytext_defines_the_same_dags_as_its_notebook(file: Path) -> None:
    import jupytext

    # Given a notebook, and the percent file that jupytext writes for it
    cells = (SETUP, "%%dag --shared\ndef helper():\n    return 1", SALES, "%dag run sales\n!ls", "%%time\nx = 1")
    file.write_text(notebook(*cells, prose="# A title"))
    percent = file.with_suffix(".py")
    percent.write_text(jupytext.writes(jupytext.read(file), fmt="py:percent"))
    # When both are loaded
    both = [load_source(file), load_source(percent)]
    # Then they define the same DAG, except for the lines of its tasks
    assert [errors(loaded) for loaded in both] == [[], []]
    shapes = [[(t.task_id, t.upstream, t.operator) for t in loaded.specs["sales"].tasks.values()] for loaded in both]
    assert shapes[0] == shapes[1]


def test_a_module_that_only_mentions_dag_cells_runs_as_a_module(tmp_path: Path) -> None:
    # Given a DAG file with cell markers and no DAG cell
    file = tmp_path / "plain.py"
    file.write_text("# %% one\nfrom nbflow import DAG\n# %% two\nwith DAG('plain', doc_md='# %%dag x'):\n    pass\n")
    # Then the whole file runs
    assert [dag.dag_id for dag in load_source(file).dags] == ["plain"]


# ------------------------------------------------------------------------------------------------------------- versions


def test_running_or_tidying_a_notebook_creates_no_new_version(file: Path) -> None:
    # Given a notebook, and the same notebook with outputs, prose and another experiment
    before = notebook(SETUP, "%%dag --shared\ndef f(): ...", SALES)
    after = notebook(
        SETUP + "\nimport os\nx = 1", "!ls", "%%dag --shared\ndef f(): ...", SALES, "plot()", outputs=True, prose="Text"
    )
    # Then the text of its version is the same
    assert notebook_version_text(before) == notebook_version_text(after)
    # And a change of a DAG cell, its helpers or its imports changes it
    for changed in (
        notebook(SETUP, "%%dag --shared\ndef f(): 1", SALES),
        notebook(SETUP, "%%dag --shared\ndef f(): ...", SALES + "\n# more"),
        notebook(SETUP.replace("import json", "import json as json"), "%%dag --shared\ndef f(): ...", SALES),
    ):
        assert notebook_version_text(changed) != notebook_version_text(before)


def test_a_version_defines_the_same_dags_after_its_notebook_has_changed(file: Path) -> None:
    # Given a loaded notebook whose task imports a module of the same folder
    (file.parent / "helper_module.py").write_text("VALUE = 42\n")
    body = "%%dag a\n@task\ndef t():\n    from helper_module import VALUE\n    return VALUE\nt()"
    loaded = load(file, "from nbflow import task", "import os", body)
    assert [*loaded.files] == ["report.ipynb", "helper_module.py"]
    # When the notebook has changed and its version is loaded
    file.write_text(notebook("nothing"))
    reloaded = load_source(file, loaded.files, versions_folder=file.parent / "versions", keep_imports=False)
    # Then the DAG is unchanged
    assert errors(reloaded) == []
    assert reloaded.specs == loaded.specs
    assert reloaded.files == loaded.files


def test_an_unchanged_notebook_is_run_from_its_own_file(file: Path) -> None:
    # Given a loaded notebook that was run afterwards, which changed only its outputs
    loaded = load(file, SETUP, SALES)
    file.write_text(notebook(SETUP, SALES, outputs=True))
    # When its version is loaded
    reloaded = load_source(file, loaded.files)
    # Then the notebook itself is run
    assert reloaded.path == str(file)
    assert json.loads(next(iter(reloaded.files.values())))["metadata"] == {"nbflow": "version"}


def test_retry_delay_takes_durations(file: Path) -> None:
    # Given durations in several units
    from nbflow.sources.cell_options import OPTIONS

    read = OPTIONS["--retry-delay"].read
    # Then they are timedeltas
    assert [read(text) for text in ("90", "1.5h", "5min", "2 d")] == [
        timedelta(seconds=90),
        timedelta(minutes=90),
        timedelta(minutes=5),
        timedelta(days=2),
    ]


# --------------------------------------------------------------------------------------------------------- any notebook

CELLS = (
    "import json, os.path",
    "import json as helper",
    "from __future__ import annotations\nimport os",
    "%matplotlib inline\nimport xml.dom",
    "del json",
    "df = 1",
    "!ls",
    "%%bash\nls",
    "%%time\nimport re",
    "x = (",
    "%%dag --shared\ndef helper(x: Nobody = None):\n    return json.dumps(x)",
    "%%dag --shared\nimport re\nLIMIT = re.compile('x')",
    "%%dag --shared\ndf + 1",
    "%%dag a\nprint(helper(1), LIMIT)",
    "%%dag b --schedule @daily\nimport json\njson.dumps(os.path.sep)",
    "%%dag c --tags x\ndef f() -> Nobody: ...\nxml.dom",
    "%%dag\nfrom nbflow import DAG\nd = DAG('d')",
    "%%dag e --oops\npass",
)


@given(st.lists(st.sampled_from(CELLS), max_size=8))
def test_the_version_text_of_a_version_is_itself_and_defines_the_same_dags(cells: list[str]) -> None:
    # Given any notebook
    text = notebook(*cells)
    stored = notebook_version_text(text)
    # Then its version text is unchanged by extracting the version text again
    assert notebook_version_text(stored) == stored
    # And it defines the same DAGs with the same texts, without errors
    sources = [source for source in dag_sources(notebook_cells(text, "n.ipynb")) if source.error is None]
    reloaded = dag_sources(notebook_cells(stored, "n.ipynb"))
    assert [(source.magic, source.text) for source in reloaded] == [(source.magic, source.text) for source in sources]
    assert [source.error for source in reloaded] == [None] * len(sources)


@given(st.lists(st.sampled_from(CELLS), max_size=8))
def test_every_dag_cell_becomes_units_or_an_error_with_its_line(cells: list[str]) -> None:
    # Given any notebook
    units = read_notebook(notebook(*cells), "n.ipynb")
    # Then every unit compiles, or has an error with its cell and line
    for unit in units:
        if unit.error is not None:
            number = int(str(unit.error.cell).removeprefix("cell "))
            assert 1 <= (unit.error.line or 0) <= cells[number - 1].count("\n") + 1
        else:
            compiled(unit)
    # And every DAG cell has a unit
    dags = [index for index, cell in enumerate(cells) if cell.startswith("%%dag") and "--shared" not in cell]
    expected = {f"cell{index}" for index in dags}
    assert expected <= {unit.namespace for unit in units}


IMPORTS = "from nbflow import DAG, dag, task"


@pytest.mark.parametrize(
    ("cell", "line", "message"),
    [
        ("# my pipeline\n\n%%dag late\nfrom nbflow import task", 3, "%%dag is not in the first line of its cell"),
        ("with DAG('d') as d:\n    pass", 1, "the DAG is in a cell without %%dag"),
        ("x = 1\nd = DAG('d')", 2, "the DAG is in a cell without %%dag"),
        ("@dag\ndef never_called():\n    pass", 1, "the @dag function 'never_called' is in a cell without %%dag"),
        ("@dag(schedule=None)\ndef called():\n    pass\ncalled()", 1, "the @dag function 'called' is in a cell"),
        ("import airflow as af\nwith af.DAG('d'):\n    pass", 2, "the DAG is in a cell without %%dag"),
    ],
)
def test_a_dag_that_no_scheduler_sees_is_an_import_error(file: Path, cell: str, line: int, message: str) -> None:
    # Given a notebook with a DAG cell, and a DAG that is not in one
    loaded = load(file, IMPORTS, SALES.replace("json.dumps([1, 2])", "1"), cell)

    # Then it has an error with its place, and the other DAG is unaffected
    ((name, error_line, text),) = errors(loaded)
    assert (name, error_line) == ("cell 3", line)
    assert message in text
    assert [d.dag_id for d in loaded.dags] == ["sales"]


@pytest.mark.parametrize(
    "cell",
    ["%load_ext nbflow\n%dag list", "class DAG: pass\nDAG()", 'text = """\n%%dag\n"""', "%%bash\necho with DAG"],
)
def test_a_cell_that_defines_no_dag_is_no_error(file: Path, cell: str) -> None:
    assert errors(load(file, cell)) == []
