"""The progress file: notebooks write it side by side, and people may have edited it."""

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

progress, own = Progress(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    progress.note("quiz", "shared", "1", passed=False, now=datetime(2024, 3, 1, tzinfo=UTC))
    progress.note("lab", own, "1", passed=True, now=datetime(2024, 3, 1, tzinfo=UTC))
"""


def test_processes_that_write_at_once_lose_nothing(home: Path) -> None:
    # Given four processes that are ready to write
    command = [sys.executable, "-c", WRITER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, f"own{n}"], **pipes) for n in range(4)]  # type: ignore[call-overload]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 4
    # When all write at once
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate()[0] for writer in writers] == [""] * 4
    # Then every try is counted, of what they share and of their own
    progress = Progress(home)
    assert progress.items("quiz", "shared") == {"1": Item(160, None)}
    assert [progress.items("lab", f"own{n}") for n in range(4)] == [{"1": Item(40, "2024-03-01T00:00:00+00:00")}] * 4
    # And nothing lies about but the file and its lock
    assert sorted(os.listdir(home)) == [".progress.json.lock", "progress.json"]


GOOD = {"quiz": {"dags": {"1": {"tries": 3, "passed_at": "2024-02-01T00:00:00+00:00"}}}}
KEPT = {"1": Item(3, "2024-02-01T00:00:00+00:00")}

ODD: dict[str, tuple[str, dict[str, Item], str]] = {
    "not JSON": ("{", {}, "it is not JSON"),
    "not text": ("\udcff", {}, "it is not JSON"),
    "nested too deep": ("[" * 100_000, {}, "it is not JSON"),
    "a list": ("[1, 2]", {}, "it is no object"),
    "a kind that is a list": (json.dumps({**GOOD, "lab": []}), KEPT, "lab is no object"),
    "a name that is a text": (json.dumps({**GOOD, "lab": {"x": "y"}}), KEPT, "lab.x is no object"),
    "an item that is a number": (
        json.dumps({"quiz": {"dags": {**GOOD["quiz"]["dags"], "2": 7}}}),
        KEPT,
        "quiz.dags.2 is no row of tries and passed_at",
    ),
    "tries that are a text": (
        json.dumps({**GOOD, "lab": {"x": {"1": {"tries": "3", "passed_at": None}}}}),
        KEPT,
        "lab.x.1 is no row of tries and passed_at",
    ),
    "tries that are true": (
        json.dumps({**GOOD, "lab": {"x": {"1": {"tries": True, "passed_at": None}}}}),
        KEPT,
        "lab.x.1 is no row of tries and passed_at",
    ),
    "passed at a number": (
        json.dumps({**GOOD, "lab": {"x": {"1": {"tries": 1, "passed_at": 12}}}}),
        KEPT,
        "lab.x.1 is no row of tries and passed_at",
    ),
}
"""What the file holds -> what is known of the quiz "dags" all the same, and what is said."""


def _note(progress: Progress) -> Any:
    return progress.note("quiz", "dags", "9", passed=False, now=NOW)


@pytest.mark.parametrize("use", [_note, lambda progress: progress.items("quiz", "dags")], ids=["noting", "reading"])
@pytest.mark.parametrize("what", ODD)
def test_an_odd_file_is_told_once_and_kept_and_what_can_be_read_goes_on(
    home: Path, caplog: pytest.LogCaptureFixture, what: str, use: Callable[[Progress], Any]
) -> None:
    # Given a file that somebody has edited
    text, known, said = ODD[what]
    home.mkdir()
    progress = Progress(home)
    progress.path.write_bytes(text.encode(errors="surrogateescape"))
    # When it is used, twice
    use(progress)
    use(progress)
    # Then it is said in one line, once
    assert [record.getMessage() for record in caplog.records] == [
        f"{progress.path} cannot be read whole: {said}. It is kept as progress.unreadable."
    ]
    # And the file is kept as it was, and what could be read of it is known
    assert (home / "progress.unreadable").read_bytes() == text.encode(errors="surrogateescape")
    assert known.items() <= dict(progress.items("quiz", "dags")).items()


def test_files_that_were_kept_are_not_overwritten(home: Path) -> None:
    # Given three odd files in turn
    home.mkdir()
    for text in ("{1", "{2", "{3"):
        Progress(home).path.write_text(text)
        _note(Progress(home))
    # Then all are kept
    kept = {path.name: path.read_text() for path in home.glob("progress.unreadable*")}
    assert kept == {"progress.unreadable": "{1", "progress.unreadable-2": "{2", "progress.unreadable-3": "{3"}


def test_a_home_that_cannot_be_written_costs_the_record_and_not_the_lesson(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a home that is a file
    home = tmp_path / "home"
    home.write_text("")
    # When a try is noted, and the progress read
    noted = Progress(home).note("quiz", "dags", "1", passed=True, now=NOW)
    # Then the answer is given all the same, and one line says why it is not kept
    assert noted == Item(1, "2024-03-01T09:00:00+00:00")
    assert [record.getMessage() for record in caplog.records] == [f"Progress is not kept: File exists: {home}"]
    assert Progress(home).items("quiz", "dags") == {}
