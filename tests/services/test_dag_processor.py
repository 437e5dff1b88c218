"""From files to versions: finding files, parsing them in subprocesses, and storing versions and import errors."""

from __future__ import annotations

import zipfile
from itertools import pairwise

import pytest

from nbflow.errors import StoreError
from nbflow.services.file_parsing import Parser

ONE_TASK = """\
from nbflow import DAG
from nbflow.operators.empty import EmptyOperator
with DAG({dag_id!r}, schedule={schedule!r}, start_date=None):
    EmptyOperator(task_id={task_id!r})
"""


def one_task(dag_id="a", *, schedule=None, task_id="t"):
    return ONE_TASK.format(dag_id=dag_id, schedule=schedule, task_id=task_id)


def dag_ids(stage, **options):
    return [row.dag_id for row in stage.store.dags(**options)]


def test_a_file_becomes_a_version_and_an_edit_the_next(stage):
    stage.write("a.py", one_task())
    stage.process()
    stage.write("a.py", one_task(task_id="other"))
    stage.process()

    assert [(v.number, list(v.spec.tasks)) for v in stage.store.versions("a")] == [(1, ["t"]), (2, ["other"])]
    assert stage.store.dag("a").version == 2


def test_an_edit_without_effect_creates_no_version(stage):
    path = stage.write("a.py", one_task())
    stage.process()
    stage.write("a.py", path.read_text())
    stage.process()

    assert [v.number for v in stage.store.versions("a")] == [1]


def test_a_version_contains_the_modules_that_its_file_imports(stage):
    stage.write("helpers.py", "NAME = 'a'\n")
    stage.write("a.py", "from helpers import NAME\n" + one_task().replace("'a'", "NAME"))
    stage.process()

    assert list(stage.store.version("a").files) == ["a.py", "helpers.py"]


def test_an_import_error_is_stored_with_its_line_and_the_dag_does_not_change(stage):
    path = stage.write("a.py", one_task())
    stage.process()
    stage.write("a.py", "from nbflow import DAG\nDAG('a', shedule='@daily')\n")
    stage.process()

    (error,) = stage.store.import_errors()
    assert (error.fileloc, error.line) == (str(path), 2)
    assert "shedule" in error.error
    assert "schedule" in error.error
    assert (stage.store.dag("a").version, stage.store.dag("a").stale) == (1, False)


def test_a_fixed_file_has_no_import_error(stage):
    stage.write("a.py", "from nbflow import DAG\nx = (\n")
    stage.process()
    before = [(error.line, error.error) for error in stage.store.import_errors()]
    stage.write("a.py", one_task())
    stage.process()

    assert before == [(2, before[0][1])]
    assert before[0][1].startswith("SyntaxError")
    assert (stage.store.import_errors(), dag_ids(stage)) == ([], ["a"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("while True: pass", "took longer than 3 s"),
        ("import sys; sys.exit('no')", "SystemExit"),
    ],
    ids=["os._exit", "kill -9", "hangs", "sys.exit"],
)
def test_a_file_that_kills_or_blocks_its_process_does_not_affect_others(make_stage, source, message):
    # The time limit is short only for the file that reaches it; on a loaded machine any import may take a second.
    stage = make_stage(**({"CORE__DAGBAG_IMPORT_TIMEOUT": "3"} if "while" in source else {}))
    bad = stage.write("bad.py", f"import nbflow  # dag\n{source}\n")
    stage.write("good.py", one_task("good"))
    stage.process()

    assert dag_ids(stage) == ["good"]
    assert [(error.fileloc, message in error.error) for error in stage.store.import_errors()] == [(str(bad), True)]


def test_one_dag_id_in_two_files_is_an_import_error_that_names_both(stage):
    first = stage.write("first.py", one_task())
    stage.process()
    second = stage.write("second.py", one_task(task_id="other"))
    stage.process()

    (error,) = stage.store.import_errors()
    assert error.fileloc == str(second)
    assert str(first) in error.error
    assert list(stage.store.version("a").spec.tasks) == ["t"]


def test_the_second_file_gets_the_dag_after_the_first_is_deleted(stage):
    first = stage.write("first.py", one_task())
    stage.process()
    stage.write("second.py", one_task(task_id="other"))
    stage.process()
    first.unlink()
    stage.process()

    assert list(stage.store.version("a").spec.tasks) == ["other"]
    assert (stage.store.import_errors(), stage.store.dag("a").stale) == ([], False)


def test_a_deleted_file_leaves_history_and_schedules_nothing(stage):
    path = stage.write("a.py", one_task(schedule="@daily"))
    stage.process()
    path.unlink()
    stage.process()

    assert (dag_ids(stage), dag_ids(stage, include_stale=True)) == ([], ["a"])
    assert stage.store.due_dags(stage.app.clock.now()) == []


def test_a_dag_removed_from_its_file_is_stale_until_it_is_back(stage):
    stage.write("a.py", one_task("a") + one_task("b"))
    stage.process()
    stage.write("a.py", one_task("b"))
    stage.process()
    without_a = dag_ids(stage)
    stage.write("a.py", one_task("a") + one_task("b"))
    stage.process()

    assert (without_a, dag_ids(stage)) == (["b"], ["a", "b"])


def test_a_changed_schedule_is_evaluated_at_once(stage):
    stage.write("a.py", one_task(schedule="@daily"))
    stage.process()
    now = stage.app.clock.now()
    stage.store.set_next_run("a", run_after=now.replace(year=now.year + 1))
    stage.write("a.py", one_task(schedule="@hourly"))
    stage.process()

    assert [row.dag_id for row in stage.store.due_dags(stage.app.clock.now())] == ["a"]


def test_a_saved_file_is_found_by_the_watcher(stage):
    stage.process()
    stage.write("a.py", one_task())

    stage.loop_until(lambda: dag_ids(stage) == ["a"])


def test_code_being_parsed_may_read_a_variable(stage):
    stage.store.set_variable("folder", "/data", actor="ada", now=stage.app.clock.now())
    stage.write("a.py", "from nbflow import Variable\nNAME = Variable.get('folder').strip('/')\n" + one_task("x"))
    stage.process()

    assert (stage.store.import_errors(), dag_ids(stage)) == ([], ["x"])


def test_secrets_of_the_scheduler_do_not_reach_the_parse(make_stage):
    stage = make_stage(DATABASE__SQL_ALCHEMY_CONN="sqlite:///{home}/planted-secret.db")
    probe = "import os\nleaks = [k for k, v in os.environ.items() if 'planted-secret' in v]\nassert not leaks, leaks\n"
    stage.write("a.py", probe + one_task())
    stage.process()

    assert (stage.store.import_errors(), dag_ids(stage)) == ([], ["a"])


EVERY_OTHER_DAY = """
    from datetime import datetime, timedelta, timezone
    from nbflow import DAG
    from nbflow.core.timetables import DagRunInfo, DataInterval, Timetable
    from nbflow.operators.empty import EmptyOperator

    class EveryOtherDay(Timetable):
        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            start = last_automated_data_interval.end if last_automated_data_interval else restriction.earliest
            return DagRunInfo.interval(start, start + timedelta(days=2))

        def infer_manual_data_interval(self, *, run_after):
            return DataInterval(run_after - timedelta(days=2), run_after)

    with DAG("custom", schedule=EveryOtherDay(), start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), catchup=True,
             max_active_runs=8):
        EmptyOperator(task_id="t")
"""


def test_a_custom_timetable_is_planned_by_the_runs_recorded_at_the_parse(stage):
    stage.write("a.py", EVERY_OTHER_DAY)
    stage.process()

    runs = stage.loop_until(lambda: [r for r in stage.store.runs("custom") if r.state.value == "success"][2:])
    assert {(run.data_interval_end - run.data_interval_start).days for run in runs} == {2}


def test_a_custom_timetable_continues_after_its_recorded_runs(stage):
    # Given a file that is not edited, and a catch-up of more runs than one parse records
    stage.write("a.py", EVERY_OTHER_DAY)
    stage.process()
    recorded = len(stage.store.version("custom").spec.schedule["runs"])

    # When its runs are created, and the folder is scanned meanwhile
    def more_than_recorded():
        stage.processor.sync()
        return len(stage.store.runs("custom", limit=1000)) > recorded

    # Then the schedule continues, without a gap and with the same version
    stage.loop_until(more_than_recorded)
    starts = sorted(run.logical_date for run in stage.store.runs("custom", limit=1000))
    assert {(later - earlier).days for earlier, later in pairwise(starts)} == {2}
    assert len(stage.store.versions("custom")) == 1


def test_an_edited_module_gives_the_dags_that_import_it_a_new_version(stage):
    stage.write("steps.py", "NAME = 'a'\n")
    stage.write("d.py", "from steps import NAME\n" + one_task("d", task_id="t"))
    stage.process()
    before = stage.store.dag("d").version
    stage.write("steps.py", "NAME = 'another'\n")
    stage.process()
    stage.process()

    assert (before, stage.store.dag("d").version) == (1, 2)
    assert stage.store.version("d").files["steps.py"] == "NAME = 'another'\n"


def test_after_store_errors_every_dag_is_stored(stage, monkeypatch):
    store_errors = iter(range(2))

    def failing(self, *arguments, **options):
        if next(store_errors, None) is not None:
            raise StoreError("The disk is full; nothing was changed.")
        return register(self, *arguments, **options)

    register = type(stage.store).register
    monkeypatch.setattr(type(stage.store), "register", failing)
    stage.write("a.py", one_task())
    stage.process()

    assert (dag_ids(stage), next(store_errors, None)) == (["a"], None)


def test_more_callbacks_than_run_at_once_are_all_called(stage):
    stage.write(
        "d.py",
        """
        import os
        from pathlib import Path
        from nbflow import DAG, task
        def note(context):
            with open(Path(__file__).parent / "calls", "a") as file:
                file.write(f"{context['ti'].map_index}\\n")
        with DAG("d", schedule=None):
            @task(on_failure_callback=note)
            def t(n): os._exit(1)
            t.expand(n=list(range(30)))
        """,
    )
    stage.process()
    stage.schedule(on_callbacks=stage.processor.notify_callbacks)
    stage.run_to_end(stage.ops.trigger("d").key)
    stage.process()

    called = (stage.folder / "calls").read_text().split()
    assert sorted(called, key=int) == [str(index) for index in range(30)]


def test_a_file_that_does_not_mention_a_dag_is_not_imported(stage, tmp_path):
    # Given a script in the folder of a DAG
    marker = tmp_path / "ran"
    stage.write("train.py", f"open({str(marker)!r}, 'w')\nx = (\n")
    stage.write("a.py", one_task())
    stage.process()

    assert (marker.exists(), stage.store.import_errors(), dag_ids(stage)) == (False, [], ["a"])


def test_a_file_is_parsed_again_when_its_missing_module_appears(stage):
    # Given a file whose module does not exist yet
    path = stage.write("a.py", "from late.names import NAME\n" + one_task().replace("'a'", "NAME"))
    stage.process()
    before = [(error.fileloc, error.line) for error in stage.store.import_errors()]

    # When the module is created, and the file does not change
    stage.write("late/__init__.py", "")
    stage.write("late/names.py", "NAME = 'a'\n")
    stage.process()

    # Then
    assert before == [(str(path), 1)]
    assert (stage.store.import_errors(), dag_ids(stage)) == ([], ["a"])


def test_a_module_edited_before_its_file_is_stored_is_parsed_again(stage, monkeypatch):
    # Given an edit of a module just after the parse has read it
    module = stage.write("names.py", "NAME = 'a'\n")
    stage.write("a.py", "from names import NAME\n" + one_task().replace("'a'", "NAME"))
    parse = Parser.parse

    def then_edit(self, path, done, *, last=None):
        def edit(parsed):
            if parsed.dags and "'a'" in module.read_text():
                stage.write("names.py", "NAME = 'b'\n")
            done(parsed)

        parse(self, path, edit, last=last)

    monkeypatch.setattr(Parser, "parse", then_edit)
    stage.process()

    # Then the stored DAG has the module's new text
    assert dag_ids(stage) == ["b"]


def test_a_linked_file_is_scanned_every_second(stage, tmp_path):
    # Given a link to a file outside the folder
    outside = tmp_path / "outside.py"
    outside.write_text(one_task())
    stage.folder.joinpath("a.py").symlink_to(outside)
    stage.process()

    # When the file changes, which is not watched
    outside.write_text(one_task(task_id="other"))

    # Then the processor finds the change
    stage.loop_until(lambda: list(stage.store.version("a").spec.tasks) == ["other"])


def test_the_output_of_a_files_subprocesses_is_not_in_the_schedulers_log(stage, capfd):
    stage.write("a.py", "import os\nos.write(1, b'x' * 100_000)\nos.system('echo loud >&2')\n" + one_task())
    stage.process()

    assert dag_ids(stage) == ["a"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raw", "line", "message"),
    [
        (b"# caf\xe9\n", 1, "the file is not utf-8"),
        (b"import nbflow  # dag\n\n\nx = 'caf\xe9'\n", 4, "the file is not utf-8"),
        (b"# -*- coding: nope -*-\nimport nbflow  # dag\n", 1, "unknown encoding: nope"),
    ],
)
def test_a_file_that_is_not_text_is_an_import_error_with_its_line(stage, raw, line, message):
    path = stage.write("a.py", "")
    path.write_bytes(raw + one_task().encode())
    stage.process()

    (error,) = stage.store.import_errors()
    assert (error.line, message in error.error) == (line, True)


def test_a_zip_file_of_dags_is_an_import_error_with_the_way_out(stage):
    # Given a ZIP file with a DAG, another with data, and a broken one
    for name, member in (("dags.zip", "a.py"), ("data.zip", "data/a.csv")):
        with zipfile.ZipFile(stage.folder / name, "w") as pack:
            pack.writestr(member, one_task())
    stage.folder.joinpath("broken.zip").write_bytes(b"PK\x03\x04 no more")
    stage.process()

    assert [(error.fileloc, error.error) for error in stage.store.import_errors()] == [
        (str(stage.folder / "dags.zip"), "NbflowError: DAGs in a ZIP file are not supported. Unpack it into a folder.")
    ]


def test_a_replaced_folder_is_watched_again(stage, tmp_path):
    # Given a watched folder that is replaced by another one
    stage.write("a.py", one_task())
    stage.process()
    stage.loop_until(lambda: dag_ids(stage) == ["a"])
    stage.folder.rename(tmp_path / "old")
    stage.loop_until(lambda: dag_ids(stage) == [])
    stage.folder.mkdir()

    # When files are saved in it, each after the previous one was found
    stage.write("b.py", one_task("b"))
    stage.loop_until(lambda: dag_ids(stage) == ["b"])
    stage.write("c.py", one_task("c"))

    # Then they are found
    stage.loop_until(lambda: dag_ids(stage) == ["b", "c"])
