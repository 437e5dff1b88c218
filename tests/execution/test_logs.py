"""Logs of tries: paths, permissions, size limit, and the stream that children write through."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import NbflowError
from nbflow.execution.logs import LogCopier, LogFile, LogFolder, LogStream, LogTail, read_log, safe_name
from nbflow.secrets_masker import Masker

RUN = RunKey("sales", "manual__2026-03-01T00:00:00+00:00")


def test_a_log_lies_in_its_runs_folder_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    log = logs.open(RUN, TaskKey("load", 3), 2)
    log.note("hello")
    log.close()
    path = tmp_path / "logs/sales/manual__2026-03-01T00:00:00+00:00/load.map_index=3.attempt=2.log"
    assert (logs.path(RUN, TaskKey("load", 3), 2), path.read_text()) == (path, "*** hello\n")
    assert [oct(os.stat(entry).st_mode & 0o777) for entry in (path, path.parent)] == ["0o600", "0o700"]


@pytest.mark.parametrize(
    "run_id", ["../../etc", "..", ".", "", "a/b", "a\0b", "/etc/passwd", ".hidden", "x" * 1000, "%2e%2e"]
)
def test_the_log_of_any_run_id_stays_in_the_folder(tmp_path: Path, run_id: str) -> None:
    logs = LogFolder(tmp_path / "logs")
    logs.open(RunKey("d", run_id), TaskKey("t"), 1).close()
    (log_file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert log_file.parent.parent == tmp_path / "logs/d"


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_ids_never_share_a_name(first: str, second: str) -> None:
    names = safe_name(first), safe_name(second)
    assert (names[0] == names[1]) == (first == second)
    for name in names:
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 200


def test_a_mapped_instance_and_a_task_with_a_dot_have_two_logs(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path)
    assert logs.path(RUN, TaskKey("a", 1), 1) != logs.path(RUN, TaskKey("a.1"), 1)


@pytest.mark.parametrize("planted", ["sales", f"sales/{RUN.run_id}"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, planted: str) -> None:
    # Given a link in the log folder to a folder outside it
    (tmp_path / "outside").mkdir()
    link = tmp_path / "logs" / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside")
    # When a log is opened through it, it is refused, and nothing was written there
    with pytest.raises(NbflowError, match="would lie outside"):
        LogFolder(tmp_path / "logs").open(RUN, TaskKey("t"), 1)
    assert [path for path in (tmp_path / "outside").rglob("*") if path.is_file()] == []


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    path = logs.path(RUN, TaskKey("t"), 1)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        logs.open(RUN, TaskKey("t"), 1)


def test_a_folder_that_was_deleted_meanwhile_is_created_again(tmp_path: Path) -> None:
    import shutil

    logs = LogFolder(tmp_path / "logs")
    logs.open(RUN, TaskKey("t"), 1).close()
    shutil.rmtree(tmp_path / "logs")
    logs.open(RUN, TaskKey("t"), 2).close()
    assert logs.path(RUN, TaskKey("t"), 2).exists()


def opened(tmp_path: Path, *, max_bytes: int = 10_000, secrets: Iterable[str] = ()) -> tuple[LogFile, Path]:
    logs = LogFolder(tmp_path, max_bytes=max_bytes)
    log = logs.open(RUN, TaskKey("t"), 1, masker=Masker(secrets))
    return log, logs.path(RUN, TaskKey("t"), 1)


FULL = "\n*** the log is full; further output is dropped ([logging] max_log_bytes_per_try)\n"


def test_a_log_beyond_its_limit_is_truncated_and_states_it_and_notes_follow(tmp_path: Path) -> None:
    # Given a log that a subprocess writes far past the limit
    log, path = opened(tmp_path, max_bytes=1000)
    os.write(log.open_pipe().writer, b"x" * 50_000)
    # When it is closed, after a note
    log.note("failed")
    log.close()
    # Then its first part remains, with lines that state it
    assert path.read_text() == "x" * 1000 + FULL + "*** failed\n"


def test_a_log_that_continues_has_the_room_that_is_left(tmp_path: Path) -> None:
    log, _ = opened(tmp_path, max_bytes=1000)
    os.write(log.open_pipe().writer, b"x" * 400)
    log.close()
    assert opened(tmp_path, max_bytes=1000)[0].room == 600


def test_what_a_process_that_outlives_the_try_writes_later_does_not_keep_the_log_open(tmp_path: Path) -> None:
    # Given another process's copy of the writing end
    log, path = opened(tmp_path)
    writer = os.dup(log.open_pipe().writer)
    os.write(writer, b"before\n")
    # When the log is closed, it has what was written until then
    log.close()
    assert path.read_text() == "before\n"
    os.close(writer)


def test_a_secret_whose_parts_arrive_one_after_the_other_is_masked(tmp_path: Path) -> None:
    log, path = opened(tmp_path, secrets=["hunter2hunter2"])
    writer = log.open_pipe().writer
    for piece in (b"a log; pass: hunter2", b"hunt", b"er2\nand ", b"\xe2\x82", b"\xac again hunter2hunter2\n"):
        os.write(writer, piece)
        log.copy_pipe()
    log.note("failed: hunter2hunter2")
    log.close()
    assert path.read_text() == "a log; pass: ***\nand \u20ac again ***\n*** failed: ***\n"


def test_text_that_could_be_the_start_of_a_secret_is_written_when_it_is_released(tmp_path: Path) -> None:
    log, path = opened(tmp_path, secrets=["hunter2hunter2"])
    os.write(log.open_pipe().writer, b"the hunt")
    log.copy_pipe()
    held = log.holding, path.read_text()
    log.release()
    assert (held, log.holding, path.read_text()) == ((True, "the "), False, "the hunt")


def test_the_copier_writes_held_back_text_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a copier that holds text back for no time at all
    monkeypatch.setattr("nbflow.execution.logs.HOLD_SECONDS", 0.0)
    log, path = opened(tmp_path, secrets=["hunter2hunter2"])
    pipe = log.open_pipe()
    released, release = threading.Event(), log.release
    monkeypatch.setattr(log, "release", lambda: (release(), released.set()))
    copier = LogCopier()
    copier.add(log)
    # When a task writes the start of a secret, and nothing follows
    os.write(pipe.writer, b"the hunt")
    # Then the log has it
    assert released.wait(60)
    assert path.read_text() == "the hunt"
    copier.remove(log)
    copier.stop()
    log.close()


def stream(tmp_path: Path, *, max_bytes: int = 10_000) -> LogStream:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return LogStream(fd, max_bytes=max_bytes)


def test_lines_are_written_at_once_and_the_rest_when_flushed(tmp_path: Path) -> None:
    out = stream(tmp_path)
    out.write("one\ntw")
    assert (tmp_path / "log").read_text() == "one\n"
    out.flush()
    assert (tmp_path / "log").read_text() == "one\ntw"


def test_both_streams_share_one_limit_and_one_of_them_states_that_it_is_exceeded(tmp_path: Path) -> None:
    out = stream(tmp_path, max_bytes=10)
    err = out.twin()
    for text in ("1234\n", "5678\n", "more\n", "and more\n"):
        out.write(text)
        err.write(text)
    assert (tmp_path / "log").read_text() == "1234\n1234\n5678\n" + FULL  # the supervisor cuts at the limit


def test_characters_that_utf_8_cannot_encode_are_escaped(tmp_path: Path) -> None:
    out = stream(tmp_path)
    out.write("bad \udcff name\n")
    assert (tmp_path / "log").read_text() == "bad \\udcff name\n"


def test_a_log_is_read_from_a_byte_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read_log(path) == ("", 0)
    path.write_text("one\n")
    text, at = read_log(path)
    path.write_text("one\ntwo\n")
    assert (text, read_log(path, start=at)) == ("one\n", ("two\n", 8))


def test_a_log_is_read_as_it_grows(tmp_path: Path) -> None:
    # Given a log that does not exist yet
    path, read = tmp_path / "log", []
    tail = LogTail(path)
    read.append(tail.read())

    # When it is written in pieces that end within a character, and truncated
    for piece in (b"one\n", b"gr\xc3", b"\xbcn\n"):
        with path.open("ab") as file:
            file.write(piece)
        read += [tail.read(), tail.read()]
    os.truncate(path, 4)
    read.append(tail.read())
    with path.open("ab") as file:
        file.write(b"*** log truncated\n")
    read.append(tail.read())

    # Then each character is read once, and so is the text after the truncation
    assert read == ["", "one\n", "", "gr", "", "\u00fcn\n", "", "", "*** log truncated\n"]


def test_output_that_cannot_be_written_is_dropped_and_counted_in_the_log(tmp_path: Path) -> None:
    with open("/dev/full", "wb", buffering=0) as full, open(tmp_path / "log", "wb", buffering=0) as file:
        log = LogFile("log", full.fileno(), 1000)
        writer = log.open_pipe().writer
        os.write(writer, b"lost\n")
        log.copy_pipe()
        os.dup2(file.fileno(), full.fileno())
        os.write(writer, b"kept\n")
        log.finish()

    assert (tmp_path / "log").read_text() == "\n*** 5 bytes could not be written here\nkept\n"


def test_a_program_that_makes_the_pipe_non_blocking_loses_no_output(tmp_path: Path) -> None:
    # Given a non-blocking pipe that another thread reads
    log, path = opened(tmp_path, max_bytes=10_000_000)
    pipe = log.open_pipe()
    os.set_blocking(pipe.writer, False)
    copier = LogCopier()
    copier.add(log)
    # When more is written than it holds
    LogStream(pipe.writer, max_bytes=10_000_000).write("x" * 999_999 + "\n")
    # Then all of it is in the log
    copier.remove(log)
    copier.stop()
    log.close()
    assert path.read_text() == "x" * 999_999 + "\n"
