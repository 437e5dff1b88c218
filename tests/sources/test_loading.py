"""Loading DAG files: versions keep their source, errors are data, and the right files are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nbflow.sources.code_units import SourceError
from nbflow.sources.discovery import find_dag_files, may_define_dag
from nbflow.sources.loading import Loaded, load_source

DAG_FILE = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task
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


def test_loading_a_file_returns_its_dags_specs_output_and_sources(folder: Path) -> None:
    # When a file is loaded
    loaded = load_source(folder / "sales.py", folder=folder)
    # Then it has the DAG with its spec; the sources are the file, its imports, and the imports of its tasks
    assert [dag.dag_id for dag in loaded.dags] == ["sales"]
    assert list(loaded.specs["sales"].tasks) == ["total"]
    assert (loaded.import_errors, loaded.output) == ((), "hello from the file\n")
    assert list(loaded.files) == ["sales.py", "helpers/__init__.py", "helpers/deep.py", "helpers/sums.py", "late.py"]


def test_loading_restores_sys_path_and_imports_an_edited_module_again(folder: Path) -> None:
    # Given a file that was loaded once
    path_before = list(sys.path)
    load_source(folder / "sales.py", folder=folder)
    assert (sys.path, "helpers.sums" in sys.modules) == (path_before, False)
    # When a module that it imports is edited so that it raises, then the next load has the error
    write(folder, {"helpers/deep.py": "raise RuntimeError('edited')\n"})
    os.utime(folder / "helpers/deep.py", (1, 1))
    (error,) = load_source(folder / "sales.py", folder=folder).import_errors
    assert (error.line, error.message) == (3, "RuntimeError: edited")


def test_a_version_runs_from_the_files_on_disk_if_they_are_unchanged(folder: Path, tmp_path: Path) -> None:
    files = load_source(folder / "sales.py", folder=folder).files
    reloaded = load_source(folder / "sales.py", files, folder=folder, versions_folder=tmp_path / "versions")
    assert reloaded.path == str(folder / "sales.py")
    assert not (tmp_path / "versions").exists()


@pytest.mark.parametrize("edited", ["sales.py", "helpers/deep.py"])
def test_a_version_keeps_its_source_when_a_file_of_it_is_edited(folder: Path, tmp_path: Path, edited: str) -> None:
    # Given a version, and one of its files edited so that it raises
    first = load_source(folder / "sales.py", folder=folder)
    write(folder, {edited: "raise RuntimeError('edited')\n"})
    # When the version is loaded
    reloaded = load_source(folder / "sales.py", first.files, folder=folder, versions_folder=tmp_path / "versions")
    # Then it is unchanged, loaded from a separate folder that only its owner can read
    assert (reloaded.import_errors, reloaded.specs["sales"].tasks.keys()) == ((), first.specs["sales"].tasks.keys())
    assert dict(reloaded.files) == dict(first.files)
    assert Path(reloaded.path).is_relative_to(tmp_path / "versions")
    assert os.stat(reloaded.path).st_mode & 0o777 == 0o600


def test_a_version_without_its_file_is_loaded_from_its_texts(folder: Path, tmp_path: Path) -> None:
    first = load_source(folder / "sales.py", folder=folder)
    reloaded = load_source("<kernel 4121>", first.files, versions_folder=tmp_path / "versions")
    assert [dag.dag_id for dag in reloaded.dags] == ["sales"]


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py"])
def test_a_stored_name_that_leads_out_of_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    loaded = load_source("<kernel>", {"dag.py": "x = 1", name: ""}, versions_folder=tmp_path / "versions")
    assert "may not be written" in loaded.import_errors[0].message
    assert not (tmp_path / "versions").exists()


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "line", "message"),
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
            "E: <str() of it raised ValueError>",
        ),
        ("x = '\0'\n", None, "SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_an_error_has_its_line_and_message(folder: Path, text: str, line: int | None, message: str) -> None:
    (error,) = load(folder, text).import_errors
    assert (error.line, error.message) == (line, message)


def test_an_error_has_the_traceback_without_nbflows_frames(folder: Path) -> None:
    (error,) = load(folder, "from helpers import sums\nsums.add(1, None)\n").import_errors
    assert error.detail.splitlines()[0] == "Traceback (most recent call last):"
    frames = [line.split('"')[1] for line in error.detail.splitlines() if line.startswith("  File")]
    assert frames == [str(folder / "bad.py"), str(folder / "helpers/deep.py")]


def test_a_file_of_another_encoding_is_an_error(folder: Path) -> None:
    (folder / "bad.py").write_bytes(b"x = '\xff'\n")
    (error,) = load_source(folder / "bad.py", folder=folder).import_errors
    assert error.message.startswith("SyntaxError: ")


def test_a_missing_file_is_an_error(folder: Path) -> None:
    (error,) = load_source(folder / "nope.py", folder=folder).import_errors
    assert error.message.startswith("FileNotFoundError: ")


def test_every_error_of_a_dag_is_reported(folder: Path) -> None:
    text = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import setup, task

@task
def nothing(): ...

with DAG("d", schedule="0 24 * * *"):
    a = nothing.override(task_id="a")().as_setup()
    b = nothing.override(task_id="b", trigger_rule="all_done")()
    a >> b >> a
"""
    errors = load(folder, text).import_errors
    assert [(error.line, error.message.split(":")[0]) for error in errors] == [
        (9, "InvalidDag"),
        (8, "AirflowDagCycleException"),
        (7, "AirflowTimetableInvalid"),
    ]


def test_an_error_in_a_dag_does_not_affect_the_other_dags_of_the_file(folder: Path) -> None:
    # Given a file with a cycle in its second DAG, and a third DAG with the id of the first
    text = """\
from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task

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
    # Then the first one is loaded, and the two others are errors with their lines
    assert [dag.dag_id for dag in loaded.dags] == ["good"]
    assert [(error.dag_id, error.line) for error in loaded.import_errors] == [("circular", 10), ("good", 12)]
    assert (
        loaded.import_errors[1].message
        == "AirflowDagDuplicatedIdException: this file defines the DAG 'good' twice, first at line 7"
    )


def test_warnings_are_collected_with_their_lines(folder: Path) -> None:
    loaded = load(folder, "import warnings\nwarnings.warn('old ways')\n")
    assert (loaded.warnings, loaded.import_errors) == (("bad.py, line 2: UserWarning: old ways",), ())


def test_a_file_with_an_unknown_suffix_is_an_error(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (error,) = load_source(folder / "notes.txt", folder=folder).import_errors
    assert isinstance(error, SourceError)
    assert error.message.startswith("NbflowError: notes.txt is not a DAG file.")


# ------------------------------------------------------------------------------------------------------------ discovery


def test_hidden_checkpoint_and_ignored_files_are_not_found(tmp_path: Path) -> None:
    # Given a folder with files of all kinds and ignore files on two levels
    names = ["a.py", ".hidden.py", "b.txt", ".ipynb_checkpoints/a.py", "__pycache__/a.py", "sub/c.py", "sub/skip_me.py"]
    names += ["drafts/d.py", "sub/deep/keep.py", "sub/deep/tmp_x.py", "sub/tmp_y.py", "lib/one/x.py", "lib/two/x.py"]
    write(tmp_path, dict.fromkeys(names, ""))
    write(tmp_path, {".nbflowignore": "# drafts\n/drafts/\ntmp_*.py\n!tmp_y.py\nlib/**/x.py\n"})
    write(tmp_path / "sub", {".airflowignore": "skip_*.py\n[\n"})
    # When the folder is searched for DAG files
    paths = find_dag_files(tmp_path)
    # Then these are found, sorted
    assert [os.path.relpath(path, tmp_path) for path in paths] == [
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
    # When the folder is searched for DAG files
    paths = find_dag_files(tmp_path, "regexp")
    # Then
    assert [os.path.relpath(path, tmp_path) for path in paths] == ["a.py", "sub/b.py"]


def test_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    write(tmp_path, {"real/a.py": ""})
    (tmp_path / "real/loop").symlink_to(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in find_dag_files(tmp_path)] == ["real/a.py"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("from nbflow import DAG", True), ("from airflow import Dag", True), ("import nbflow", False), ("dag = 1", False)],
)
def test_a_file_is_run_only_if_its_text_may_define_a_dag(text: str, expected: bool) -> None:
    assert may_define_dag(text) is expected
