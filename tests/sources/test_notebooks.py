"""Notebooks and percent-format files as DAG files, with no kernel alive."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.sources.loading import Loaded, compiled, load_source
from nbflow.sources.notebooks import dag_sources, essence, notebook_cells, read_notebook
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


def faults(loaded: Loaded) -> list[tuple[str | None, int | None, str]]:
    return [(fault.cell, fault.line, fault.error) for fault in loaded.faults]


def only_fault(loaded: Loaded) -> tuple[str | None, int | None, str]:
    [fault] = faults(loaded)
    return fault


# ---------------------------------------------------------------------------------------- what becomes of a cell


def test_a_dag_cell_is_a_dag_with_the_arguments_of_its_line(file: Path) -> None:
    # Given a notebook with imports, a DAG cell, and a cell that must never run
    loaded = load(file, SETUP, SALES, "raise SystemExit('ran')\n%dag run sales")
    # Then the DAG is there, as its line and its body say
    assert faults(loaded) == []
    [spec] = loaded.specs.values()
    assert (spec.dag_id, spec.schedule_text, spec.catchup) == ("sales", "@daily", True)
    assert spec.start_date == datetime(2024, 1, 1, tzinfo=UTC)
    assert {task.task_id: task.upstream for task in spec.tasks.values()} == {"extract": (), "load": ("extract",)}


def test_the_dag_of_a_cell_lies_in_its_notebook(file: Path) -> None:
    # Given a DAG cell
    [dag] = load(file, SETUP, SALES).dags
    # Then files named beside the notebook are found, and places name the cell
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
    # Then the compiled DAG says the same
    assert (spec.schedule_text, spec.timezone, spec.catchup) == ("0 6 * * *", "Europe/Berlin", False)
    assert spec.start_date == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert spec.end_date == datetime(2024, 12, 31, 11, tzinfo=UTC)
    assert (spec.description, spec.tags, spec.owners) == ("each morning", ("a", "b", "c"), ("ada",))
    assert (spec.tasks["a"].retries, spec.tasks["a"].retry_delay, spec.dagrun_timeout) == (3, 300.0, 7200.0)
    assert (spec.max_active_runs, spec.max_active_tasks, spec.fail_fast) == (1, 4, True)
    assert {name: param["value"] for name, param in spec.params.items()} == {"rows": 10, "country": "DE"}
    assert spec.is_paused_upon_creation is False


def test_a_zone_needs_no_date(file: Path) -> None:
    # Given a schedule in a zone, and no start date
    [spec] = load(file, '%%dag a --schedule "0 6 * * *" --timezone Europe/Berlin').specs.values()
    # Then the schedule is read in that zone
    assert (spec.timezone, spec.schedule["timezone"]) == ("Europe/Berlin", "Europe/Berlin")


def test_a_cell_that_makes_its_own_dag_makes_that_one(file: Path) -> None:
    # Given DAG cells with a `with DAG`, a called @dag function, and one whose line names no DAG
    loaded = load(
        file,
        "from nbflow import DAG, dag, task\nfrom datetime import datetime",
        "%%dag first\nwith DAG('first', schedule='@hourly') as pipeline:\n    task(lambda: 1, task_id='one')()",
        "%%dag\n@dag(schedule='@weekly')\ndef second():\n    task(lambda: 1, task_id='two')()\nsecond()",
    )
    # Then those DAGs count, with their own arguments
    assert faults(loaded) == []
    assert {name: spec.schedule_text for name, spec in loaded.specs.items()} == {
        "first": "@hourly",
        "second": "@weekly",
    }


@pytest.mark.parametrize(
    ("line", "body", "said"),
    [
        ("%%dag a --retries 2", "DAG('a')\nd = DAG('b')", "so --retries of %%dag would not count"),
        ("%%dag a", "d = DAG('b')", "%%dag names 'a', but the cell makes DAG 'b'"),
        ("%%dag a", "d = DAG('a')\ntask(lambda: 1, task_id='x')()", "and the task 'x' outside of it"),
        ("%%dag a", "from nbflow import dag\n@dag\ndef f(): ...", "f is a @dag function that is never called"),
        ("%%dag", "x = 1", "This cell makes no DAG"),
    ],
)
def test_a_cell_that_says_two_things_or_nothing_is_refused(file: Path, line: str, body: str, said: str) -> None:
    # Given a line and a body that contradict each other, or make no DAG
    loaded = load(file, "from nbflow import DAG, task", f"{line}\n{body}")
    # Then the fault says so, in its cell
    cell, _, error = only_fault(loaded)
    assert cell == "cell 2"
    assert said in error


# ---------------------------------------------------------------------------------------- what travels


def test_imports_that_are_used_travel_and_others_do_not(file: Path) -> None:
    # Given imports of which one would fail, a later one that replaces an earlier one, and dotted ones that add up
    cells = notebook_cells(
        notebook(
            "import no_such_module, os.path\nimport collections as c",
            "import xml.dom\nimport xml.sax\nimport json as c",
            "%%dag a\nprint(c.dumps(1), os.path.sep, xml.dom, xml.sax)",
        ),
        str(file),
    )
    [source] = dag_sources(cells)
    # Then the names that the cell uses decide which statements travel
    assert source.fault is None
    assert source.travels == (
        ("import no_such_module, os.path", "cell 1"),
        ("import xml.dom", "cell 2"),
        ("import xml.sax", "cell 2"),
        ("import json as c", "cell 2"),
    )


def test_helpers_travel_with_every_dag_of_the_notebook(file: Path) -> None:
    # Given a cell of helpers that needs an import itself, and two DAGs
    loaded = load(
        file,
        "import json\nfrom nbflow import task",
        "%%dag --shared\ndef text(x):\n    return json.dumps(x)",
        "%%dag a\ntask(lambda: text(1), task_id='t')()\nprint(text('of a'))",
        "%%dag b\nprint(text('of b'))",
    )
    # Then both have them, and the import comes along unasked
    assert faults(loaded) == []
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
    # Given the future import in the first cell, and an annotation that names nothing
    loaded = load(
        file,
        "from __future__ import annotations\nfrom nbflow import task",
        "%%dag --shared\ndef f(x: Nobody): ...",
        "%%dag a\n@task\ndef t(x: Nobody = None) -> AlsoNobody: ...\nt()",
    )
    # Then it is text, as in the kernel
    assert faults(loaded) == []
    # And a version of it says the same
    again = load_source(file.with_name("gone.ipynb"), {"gone.ipynb": next(iter(loaded.files.values()))})
    assert faults(again) == []


# ---------------------------------------------------------------------------------------- the stand-alone check


@pytest.mark.parametrize(
    ("cells", "fault"),
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
                "InvalidDag: This cell uses 'f', which only cell 2 further down defines ('g' too). A DAG cell must "
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
                "InvalidDag: This cell uses 'prnt', which nothing defines. Did you mean 'print'?",
            ),
        ),
        (
            ["from math import *", "%%dag a\nsqrt(2)"],
            (
                "cell 2",
                2,
                "InvalidDag: This cell uses 'sqrt', which nothing defines; `from math import *` of cell 1 does not "
                "travel. Import sqrt by name.",
            ),
        ),
        (
            ["%%dag a\nfrom math import *\nsqrt(2)"],
            (
                "cell 1",
                2,
                "InvalidDag: `from math import *` hides which names a DAG cell has. Import what you use by name.",
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
                "InvalidDag: This cell uses 'display', which is IPython's. Import it: from IPython.display import "
                "display.",
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
                "InvalidDag: `!ls -l` is IPython's, and a DAG cell is plain Python, as the scheduler runs it. Use "
                "BashOperator or @task.bash, or put it into another cell.",
            ),
        ),
        (
            ["%%dag a\n%time x = 1"],
            (
                "cell 1",
                2,
                "InvalidDag: `%time x = 1` is IPython's, and a DAG cell is plain Python, as the scheduler runs it. "
                "Leave it out, or put it into another cell.",
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
def test_what_cannot_stand_alone_is_a_fault_that_says_why(
    file: Path, cells: list[str], fault: tuple[str, int, str]
) -> None:
    # Given a notebook whose DAG cell would fail in the scheduler
    loaded = load(file, *cells)
    # Then the fault names cell, line, name and way out
    assert fault in faults(loaded)


def test_a_fault_of_one_cell_leaves_the_other_dags(file: Path) -> None:
    # Given a notebook in which one DAG cell fails when it runs
    loaded = load(file, SETUP, "%%dag broken\n\n1 / 0", SALES)
    # Then the other one is there, and the fault has cell and line
    assert [dag.dag_id for dag in loaded.dags] == ["sales"]
    assert faults(loaded) == [("cell 2", 3, "ZeroDivisionError: division by zero")]


def test_a_fault_of_helpers_is_told_once(file: Path) -> None:
    # Given helpers that fail, and two DAGs that they travel with
    loaded = load(file, "%%dag --shared\n1 / 0", "%%dag a", "%%dag b")
    # Then it is one fault, of the helpers' cell
    assert faults(loaded) == [("cell 1", 2, "ZeroDivisionError: division by zero")]


def test_the_details_of_a_fault_show_the_cell(file: Path) -> None:
    # Given a DAG cell that fails in a function
    [fault] = load(file, "%%dag a\ndef f():\n    raise KeyError('here')\nf()").faults
    # Then the traceback has its lines
    assert "    raise KeyError('here')" in fault.detail


# ---------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cells": [', "report.ipynb is not a notebook: Expecting value at line 1. Save it anew."),
        ("[]", "report.ipynb is not a notebook: it holds a list. Save it with Jupyter."),
        ("{}", "report.ipynb is not a notebook: it has no 'cells'. Save it with Jupyter."),
        ('{"worksheets": [], "nbformat": 3}', "report.ipynb is in notebook format 3. Save it with Jupyter 4."),
        (
            '{"cells": [{"cell_type": "code", "source": 3}]}',
            "report.ipynb is not a notebook: a cell's source is a int. Save it with Jupyter.",
        ),
    ],
)
def test_a_broken_notebook_is_one_clear_fault(file: Path, text: str, said: str) -> None:
    # Given a file that is no notebook, or was cut off
    file.write_text(text)
    # Then there is one fault that says what is wrong with it
    assert faults(load_source(file)) == [(None, None, f"InvalidDag: {said}")]


@pytest.mark.parametrize("text", ["", notebook(), notebook("x = 1", "%%bash\n%%dag no"), notebook("# %%dag a")])
def test_a_notebook_without_dag_cells_is_no_fault(file: Path, text: str) -> None:
    # Given a notebook that makes no DAG
    file.write_text(text)
    loaded = load_source(file)
    # Then it gives neither DAG nor fault
    assert (loaded.dags, loaded.faults) == ((), ())


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
    # Then its DAG cells make the DAGs, and faults have the lines of the file
    assert [(spec.dag_id, spec.schedule_text, list(spec.tasks)) for spec in loaded.specs.values()] == [
        ("sales", "@daily", ["extract"])
    ]
    assert faults(loaded) == [
        (
            None,
            PERCENT[: PERCENT.index("undefined")].count("\n") + 1,
            "InvalidDag: This cell uses 'undefined', which nothing defines. Define or import it in this cell.",
        )
    ]


def test_what_jupytext_writes_is_read_alike(file: Path) -> None:
    import jupytext

    # Given a notebook, and the percent file that jupytext makes of it
    cells = (SETUP, "%%dag --shared\ndef helper():\n    return 1", SALES, "%dag run sales\n!ls", "%%time\nx = 1")
    file.write_text(notebook(*cells, prose="# A title"))
    percent = file.with_suffix(".py")
    percent.write_text(jupytext.writes(jupytext.read(file), fmt="py:percent"))
    # When both are loaded
    one, other = load_source(file), load_source(percent)
    # Then they give the same DAG, but for the lines of its tasks
    assert (faults(one), faults(other)) == ([], [])
    shape = [
        [(t.task_id, t.upstream, t.operator) for t in loaded.specs["sales"].tasks.values()] for loaded in (one, other)
    ]
    assert shape[0] == shape[1]


def test_a_module_that_merely_mentions_dag_cells_runs_as_a_module(tmp_path: Path) -> None:
    # Given a DAG file with cell markers and no DAG cell
    file = tmp_path / "plain.py"
    file.write_text("# %% one\nfrom nbflow import DAG\n# %% two\nwith DAG('plain', doc_md='# %%dag x'):\n    pass\n")
    # Then all of it runs
    assert [dag.dag_id for dag in load_source(file).dags] == ["plain"]


# ---------------------------------------------------------------------------------------- versions


def test_running_or_tidying_a_notebook_makes_no_new_version(file: Path) -> None:
    # Given a notebook, and the same after it was run and got prose and another experiment
    before = notebook(SETUP, "%%dag --shared\ndef f(): ...", SALES)
    after = notebook(
        SETUP + "\nimport os\nx = 1", "!ls", "%%dag --shared\ndef f(): ...", SALES, "plot()", outputs=True, prose="Text"
    )
    # Then the text that its version keeps is the same
    assert essence(before) == essence(after)
    # And a change of a DAG cell, its helpers or its imports makes another one
    for changed in (
        notebook(SETUP, "%%dag --shared\ndef f(): 1", SALES),
        notebook(SETUP, "%%dag --shared\ndef f(): ...", SALES + "\n# more"),
        notebook(SETUP.replace("import json", "import json as json"), "%%dag --shared\ndef f(): ...", SALES),
    ):
        assert essence(changed) != essence(before)


def test_a_kept_version_gives_the_same_dags_when_its_notebook_is_gone(file: Path) -> None:
    # Given a loaded notebook with a module beside it that a task imports
    (file.parent / "beside.py").write_text("VALUE = 42\n")
    body = "%%dag a\n@task\ndef t():\n    from beside import VALUE\n    return VALUE\nt()"
    loaded = load(file, "from nbflow import task", "import os", body)
    assert [*loaded.files] == ["report.ipynb", "beside.py"]
    # When the notebook has changed meanwhile and its version is loaded
    file.write_text(notebook("nothing"))
    again = load_source(file, loaded.files, versions_folder=file.parent / "versions", keep=False)
    # Then it is the DAG as it was
    assert faults(again) == []
    assert again.specs == loaded.specs
    assert again.files == loaded.files


def test_an_unchanged_notebook_is_run_from_its_place(file: Path) -> None:
    # Given a loaded notebook that was run since, which changed its outputs only
    loaded = load(file, SETUP, SALES)
    file.write_text(notebook(SETUP, SALES, outputs=True))
    # When its version is loaded
    again = load_source(file, loaded.files)
    # Then it is the notebook in its place that runs
    assert again.path == str(file)
    assert json.loads(next(iter(again.files.values())))["metadata"] == {"nbflow": "version"}


def test_retry_delay_reads_durations(file: Path) -> None:
    # Given durations as people write them
    from nbflow.sources.cell_options import OPTIONS

    read = OPTIONS["--retry-delay"].read
    # Then they are timedeltas
    assert [read(text) for text in ("90", "1.5h", "5min", "2 d")] == [
        timedelta(seconds=90),
        timedelta(minutes=90),
        timedelta(minutes=5),
        timedelta(days=2),
    ]


# ------------------------------------------------------------------------------------------------ any notebook

PIECES = (
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


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_a_version_is_its_own_essence_and_runs_the_same(cells: list[str]) -> None:
    # Given any notebook
    text = notebook(*cells)
    kept = essence(text)
    # Then what a version keeps of it keeps all of itself
    assert essence(kept) == kept
    # And makes the same DAGs of the same texts, none of them faulty
    whole = [one for one in dag_sources(notebook_cells(text, "n.ipynb")) if one.fault is None]
    again = dag_sources(notebook_cells(kept, "n.ipynb"))
    assert [(one.magic, one.text) for one in again] == [(one.magic, one.text) for one in whole]
    assert [one.fault for one in again] == [None] * len(whole)


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_every_dag_cell_becomes_units_or_a_fault_in_its_place(cells: list[str]) -> None:
    # Given any notebook
    units = read_notebook(notebook(*cells), "n.ipynb")
    # Then every unit compiles at its lines, or says which cell is at fault and where
    for unit in units:
        if unit.fault is not None:
            number = int(str(unit.fault.cell).removeprefix("cell "))
            assert 1 <= (unit.fault.line or 0) <= cells[number - 1].count("\n") + 1
        else:
            compiled(unit)
    # And a notebook with DAG cells gives something for each
    dags = [index for index, cell in enumerate(cells) if cell.startswith("%%dag") and "--shared" not in cell]
    wanted = {f"cell{index}" for index in dags}
    assert wanted <= {unit.namespace for unit in units}
