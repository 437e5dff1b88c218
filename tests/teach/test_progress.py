"""The progress file: several notebooks write it, and learners may edit it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nbflow.teach.progress import Item, Progress

NOW = datetime(2024, 3, 1, 9, tzinfo=UTC)
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nbflow.teach.progress import Progress

progress, lab = Progress(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    progress.record_try("quiz", "shared", "1", passed=False, now=datetime(2024, 3, 1, tzinfo=UTC))
    progress.record_try("lab", lab, "1", passed=True, now=datetime(2024, 3, 1, tzinfo=UTC))
"""


def test_processes_that_write_concurrently_lose_nothing(home: Path) -> None:
    # Given four processes that are ready to write
    command = [sys.executable, "-c", WRITER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, f"lab{n}"], **pipes) for n in range(4)]  # type: ignore[call-overload]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 4
    # When all write concurrently
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate()[0] for writer in writers] == [""] * 4
    # Then every try is counted, of the shared quiz and of each lab
    progress = Progress(home)
    assert progress.items("quiz", "shared") == {"1": Item(160, None)}
    assert [progress.items("lab", f"lab{n}") for n in range(4)] == [{"1": Item(40, "2024-03-01T00:00:00+00:00")}] * 4
    # And the folder holds only the file and its lock
    assert sorted(os.listdir(home)) == [".progress.json.lock", "progress.json"]


VALID = {"quiz": {"dags": {"1": {"tries": 3, "passed_at": "2024-02-01T00:00:00+00:00"}}}}
READABLE = {"1": Item(3, "2024-02-01T00:00:00+00:00")}

INVALID: dict[str, tuple[str, dict[str, Item], str]] = {
    "not JSON": ("{", {}, "it is not JSON"),
    "not text": ("\udcff", {}, "it is not JSON"),
    "nested too deep": ("[" * 100_000, {}, "it is not JSON"),
    "a list": ("[1, 2]", {}, "it is not an object"),
    "a kind that is a list": (json.dumps({**VALID, "lab": []}), READABLE, "lab is not an object"),
    "a name that is a text": (json.dumps({**VALID, "lab": {"x": "y"}}), READABLE, "lab.x is not an object"),
    "an item that is a number": (
        json.dumps({"quiz": {"dags": {**VALID["quiz"]["dags"], "2": 7}}}),
        READABLE,
        "quiz.dags.2 is not an object with tries and passed_at",
    ),
    "tries that are a text": (
        json.dumps({**VALID, "lab": {"x": {"1": {"tries": "3", "passed_at": None}}}}),
        READABLE,
        "lab.x.1 is not an object with tries and passed_at",
    ),
    "tries that are true": (
        json.dumps({**VALID, "lab": {"x": {"1": {"tries": True, "passed_at": None}}}}),
        READABLE,
        "lab.x.1 is not an object with tries and passed_at",
    ),
    "passed at a number": (
        json.dumps({**VALID, "lab": {"x": {"1": {"tries": 1, "passed_at": 12}}}}),
        READABLE,
        "lab.x.1 is not an object with tries and passed_at",
    ),
}
"""Case -> the file's content, the items of the quiz "dags" that are still read, and the error."""


def _record(progress: Progress) -> Any:
    return progress.record_try("quiz", "dags", "9", passed=False, now=NOW)


@pytest.mark.parametrize(
    "use", [_record, lambda progress: progress.items("quiz", "dags")], ids=["recording", "reading"]
)
@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_file_is_logged_once_and_renamed_and_its_valid_items_stay(
    home: Path, caplog: pytest.LogCaptureFixture, case: str, use: Callable[[Progress], Any]
) -> None:
    # Given a file that a learner has edited
    text, valid, error = INVALID[case]
    home.mkdir()
    progress = Progress(home)
    progress.path.write_bytes(text.encode(errors="surrogateescape"))
    # When it is used twice
    use(progress)
    use(progress)
    # Then the error is logged once
    assert [record.getMessage() for record in caplog.records] == [
        f"{progress.path} is invalid: {error}. It was renamed to progress.unreadable."
    ]
    # And the renamed file is unchanged, and the valid items are still read
    assert (home / "progress.unreadable").read_bytes() == text.encode(errors="surrogateescape")
    assert valid.items() <= dict(progress.items("quiz", "dags")).items()


def test_renamed_files_are_not_overwritten(home: Path) -> None:
    # Given three invalid files, one after the other
    home.mkdir()
    for text in ("{1", "{2", "{3"):
        Progress(home).path.write_text(text)
        _record(Progress(home))
    # Then all are still there
    renamed = {path.name: path.read_text() for path in home.glob("progress.unreadable*")}
    assert renamed == {"progress.unreadable": "{1", "progress.unreadable-2": "{2", "progress.unreadable-3": "{3"}


def test_in_a_home_that_is_not_writable_progress_is_not_stored_and_one_line_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a home that is a file
    home = tmp_path / "home"
    home.write_text("")
    # When a try is recorded, and the progress read
    item = Progress(home).record_try("quiz", "dags", "1", passed=True, now=NOW)
    # Then the item is returned, and one line says why it is not stored
    assert item == Item(1, "2024-03-01T09:00:00+00:00")
    assert [record.getMessage() for record in caplog.records] == [f"The progress cannot be stored: File exists: {home}"]
    assert Progress(home).items("quiz", "dags") == {}
