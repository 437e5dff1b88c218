"""From DAG files to DAGs: versions keep their source, mistakes become data, and the right files are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nbflow.sources.discovery import find_dag_files, may_define_dag
from nbflow.sources.loading import Fault, Loaded, load_source

DAG_FILE = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.decorators import task
from helpers import sums

print("hello from the file")

with DAG("sales") as dag:
    @task
    def total():
        import late
        return sums.add(1, 2)
    total()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path / "dags",
        {"sales.py": DAG_FILE, "helpers/__init__.py": "", "helpers/sums.py": "from .deep import add\n"},
    )
    write(
        tmp_path / "dags",
        {"helpers/deep.py": "def add(a, b):\n    return a + b\n", "late.py": "X = 1\n", "other.py": "Y = 1\n"},
    )
    return tmp_path / "dags"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def load(folder: Path, text: str) -> Loaded:
    write(folder, {"bad.py": text})
    return load_source(folder / "bad.py", folder=folder)


# -------------------------------------------------------------------------------------------------------------- loading


def test_a_file_gives_its_dags_their_specs_its_output_and_its_sources(folder: Path) -> None:
    # When a file is loaded
    loaded = load_source(folder / "sales.py", folder=folder)
    # Then its DAG is there with its spec; its sources are the file, what it imported, and what its tasks will import
    assert [dag.dag_id for dag in loaded.dags] == ["sales"]
    assert list(loaded.specs["sales"].tasks) == ["total"]
    assert (loaded.faults, loaded.output) == ((), "hello from the file\n")
    assert list(loaded.files) == ["sales.py", "helpers/__init__.py", "helpers/deep.py", "helpers/sums.py", "late.py"]


def test_loading_leaves_no_trace_and_sees_an_edited_module_the_next_time(folder: Path) -> None:
    # Given a file that was loaded once
    path_before = list(sys.path)
    load_source(folder / "sales.py", folder=folder)
    assert (sys.path, "helpers.sums" in sys.modules) == (path_before, False)
    # When a module that it imports is edited, so that it breaks, then the next load says so
    write(folder, {"helpers/deep.py": "raise RuntimeError('edited')\n"})
    os.utime(folder / "helpers/deep.py", (1, 1))
    (fault,) = load_source(folder / "sales.py", folder=folder).faults
    assert (fault.line, fault.error) == (3, "RuntimeError: edited")


def test_a_version_runs_from_the_files_while_they_say_the_same(folder: Path, tmp_path: Path) -> None:
    files = load_source(folder / "sales.py", folder=folder).files
    again = load_source(folder / "sales.py", files, folder=folder, versions_folder=tmp_path / "versions")
    assert again.path == str(folder / "sales.py")
    assert not (tmp_path / "versions").exists()


@pytest.mark.parametrize("edited", ["sales.py", "helpers/deep.py"])
def test_a_version_keeps_its_source_when_a_file_of_it_is_edited(folder: Path, tmp_path: Path, edited: str) -> None:
    # Given a version, and a file of it that was broken since
    first = load_source(folder / "sales.py", folder=folder)
    write(folder, {edited: "raise RuntimeError('edited')\n"})
    # When the version is loaded
    again = load_source(folder / "sales.py", first.files, folder=folder, versions_folder=tmp_path / "versions")
    # Then it is what it was, from a folder of its own that only its owner can read
    assert (again.faults, again.specs["sales"].tasks.keys()) == ((), first.specs["sales"].tasks.keys())
    assert dict(again.files) == dict(first.files)
    assert Path(again.path).is_relative_to(tmp_path / "versions")
    assert os.stat(again.path).st_mode & 0o777 == 0o600


def test_a_version_whose_file_is_gone_is_loaded_from_its_texts(folder: Path, tmp_path: Path) -> None:
    first = load_source(folder / "sales.py", folder=folder)
    again = load_source("<kernel 4121>", first.files, versions_folder=tmp_path / "versions")
    assert [dag.dag_id for dag in again.dags] == ["sales"]


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py"])
def test_a_stored_name_that_leads_out_of_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    loaded = load_source("<kernel>", {"dag.py": "x = 1", name: ""}, versions_folder=tmp_path / "versions")
    assert "may not be written" in loaded.faults[0].error
    assert not (tmp_path / "versions").exists()


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("text", "line", "gist"),
    [
        ("\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("x = 1\ndef broken(:\n", 2, "SyntaxError: invalid syntax (bad.py, line 2)"),
        ("import nowhere_to_be_found\n", 1, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("def deep(n):\n    deep(n + 1)\ndeep(0)\n", 2, "RecursionError: maximum recursion depth exceeded"),
        (
            "from helpers import sums\nsums.add(1, '2')\n",
            2,
            "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
        ),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
            3,
            "E: <its text could not be made: ValueError>",
        ),
        ("x = '\0'\n", None, "SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_mistake_becomes_a_fault_with_its_line_and_gist(folder: Path, text: str, line: int | None, gist: str) -> None:
    (fault,) = load(folder, text).faults
    assert (fault.line, fault.error) == (line, gist)


def test_a_fault_shows_the_users_part_of_the_traceback_alone(folder: Path) -> None:
    (fault,) = load(folder, "from helpers import sums\nsums.add(1, None)\n").faults
    assert fault.detail.splitlines()[0] == "Traceback (most recent call last):"
    frames = [line.split('"')[1] for line in fault.detail.splitlines() if line.startswith("  File")]
    assert frames == [str(folder / "bad.py"), str(folder / "helpers/deep.py")]


def test_a_file_of_another_encoding_is_a_fault(folder: Path) -> None:
    (folder / "bad.py").write_bytes(b"x = '\xff'\n")
    (fault,) = load_source(folder / "bad.py", folder=folder).faults
    assert fault.error.startswith("SyntaxError: ")


def test_a_file_that_is_not_there_is_a_fault(folder: Path) -> None:
    (fault,) = load_source(folder / "nope.py", folder=folder).faults
    assert fault.error.startswith("FileNotFoundError: ")


def test_every_fault_of_a_dag_is_found_at_once(folder: Path) -> None:
    text = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.decorators import setup, task

@task
def nothing(): ...

with DAG("d", schedule="0 24 * * *"):
    a = nothing.override(task_id="a")().as_setup()
    b = nothing.override(task_id="b", trigger_rule="all_done")()
    a >> b >> a
"""
    faults = load(folder, text).faults
    assert [(fault.line, fault.error.split(":")[0]) for fault in faults] == [
        (9, "InvalidDag"),
        (8, "AirflowDagCycleException"),
        (7, "AirflowTimetableInvalid"),
    ]


def test_one_bad_dag_does_not_take_the_others_of_its_file_along(folder: Path) -> None:
    # Given a file with a cycle in its second DAG, and a third one with the first one's id
    text = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.decorators import task

@task
def nothing(): ...

with DAG("good"):
    nothing()
with DAG("circular"):
    a, b = nothing.override(task_id="a")(), nothing.override(task_id="b")()
    a >> b >> a
with DAG("good"):
    nothing()
"""
    loaded = load(folder, text)
    # Then the good one is there, and the two others are faults with their lines
    assert [dag.dag_id for dag in loaded.dags] == ["good"]
    assert [(fault.dag_id, fault.line) for fault in loaded.faults] == [("circular", 10), ("good", 12)]
    assert loaded.faults[1].error == "AirflowDagDuplicatedIdException: this file defines the DAG 'good' twice"


def test_warnings_are_collected_with_their_lines(folder: Path) -> None:
    loaded = load(folder, "import warnings\nwarnings.warn('old ways')\n")
    assert (loaded.warnings, loaded.faults) == (("bad.py, line 2: UserWarning: old ways",), ())


def test_a_file_of_an_unknown_kind_is_a_fault(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (fault,) = load_source(folder / "notes.txt", folder=folder).faults
    assert isinstance(fault, Fault)
    assert fault.error.startswith("NbflowError: notes.txt is no DAG file.")


# -------------------------------------------------------------------------------------------------------------- finding


def test_hidden_checkpoint_and_ignored_files_are_not_found(tmp_path: Path) -> None:
    # Given a folder with files of all kinds and ignore files on two levels
    names = ["a.py", ".hidden.py", "b.txt", ".ipynb_checkpoints/a.py", "__pycache__/a.py", "sub/c.py", "sub/skip_me.py"]
    names += ["drafts/d.py", "sub/deep/keep.py", "sub/deep/tmp_x.py", "sub/tmp_y.py", "lib/one/x.py", "lib/two/x.py"]
    write(tmp_path, dict.fromkeys(names, ""))
    write(tmp_path, {".nbflowignore": "# drafts\n/drafts/\ntmp_*.py\n!tmp_y.py\nlib/**/x.py\n"})
    write(tmp_path / "sub", {".airflowignore": "skip_*.py\n[\n"})
    # When DAG files are looked for
    found = find_dag_files(tmp_path)
    # Then these are found, sorted
    assert [os.path.relpath(path, tmp_path) for path in found] == [
        "a.py",
        "sub/c.py",
        "sub/deep/keep.py",
        "sub/tmp_y.py",
    ]


def test_regular_expressions_of_airflow_2_are_searched_in_the_path(tmp_path: Path) -> None:
    # Given an ignore file as Airflow 2 reads it, and one in a folder
    write(tmp_path, dict.fromkeys(["a.py", "old_a.py", "drafts/b.py", "sub/b.py", "sub/c.py", "tests/d.py"], ""))
    write(tmp_path, {".airflowignore": "# drafts\nold_.*\\.py\n^drafts/  # a folder\ntest[s]?\n(\n"})
    write(tmp_path / "sub", {".airflowignore": "sub/c"})
    # When DAG files are looked for
    found = find_dag_files(tmp_path, "regexp")
    # Then
    assert [os.path.relpath(path, tmp_path) for path in found] == ["a.py", "sub/b.py"]


def test_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    write(tmp_path, {"real/a.py": ""})
    (tmp_path / "real/loop").symlink_to(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in find_dag_files(tmp_path)] == ["real/a.py"]


@pytest.mark.parametrize(
    ("text", "worth"),
    [("from nbflow import DAG", True), ("from airflow import Dag", True), ("import nbflow", False), ("dag = 1", False)],
)
def test_files_that_cannot_define_a_dag_need_not_be_run(text: str, worth: bool) -> None:
    assert may_define_dag(text) is worth
