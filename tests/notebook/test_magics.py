"""The magics in an IPython shell of this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nbflow.notebook import dag_line_magic as lines
from nbflow.notebook.session import current_session
from tests.notebook.conftest import Shell, until
from tests.notebook.notebooks import notebook

SALES = """\
%%dag sales --schedule @daily --start 2024-01-01
@task
def extract():
    print("extracting")
    return [1, 2]

@task
def load(rows):
    return len(rows)

load(extract())
"""


# ------------------------------------------------------------------------------------------------ %%dag


def test_a_dag_cell_shows_its_graph_and_its_dependencies_on_other_cells(shell: Shell) -> None:
    # Given helpers that need an import
    shell.run("import json")
    shell.run("%%dag --shared\ndef text(x):\n    return json.dumps(x)")
    # When a DAG cell uses them
    shell.run("%%dag sales\n@task\ndef t():\n    return text(1)\nt()")
    # Then it shows the graph as a picture and as text, with its version, its cell and the included cells
    [output] = shell.outputs
    assert output.keys() == {"text/html", "text/plain"}
    assert '<img alt="' in output["text/html"]
    assert "data:image/svg+xml;base64," in output["text/html"]
    text = output["text/plain"].splitlines()
    assert text[0] == "DAG sales"
    assert text[-2].startswith("version 1 · <kernel ")
    assert text[-2].endswith(">, In [4] · no scheduler running")
    included = "from nbflow import task (In [1]) · import json (In [2]) · helpers (In [3])"
    assert text[-1] == f"Included from other cells: {included}"


def test_names_of_a_dag_cell_are_defined_in_the_notebook(shell: Shell) -> None:
    # Given a DAG cell
    shell.run(SALES)
    # Then other cells can call its functions
    assert shell.run("load.function([1, 2, 3])") == 3


def test_prints_of_a_dag_cell_are_shown(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a DAG cell that prints
    shell.run("%%dag a\nprint('defining')")
    # Then the text is printed
    assert "defining\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first_cell", "cell", "expected"),
    [
        (
            "df = 3",
            "%%dag a\nprint(df)",
            ["Error: In [3], line 2: This cell uses 'df', which only In [2] defines. A DAG cell must stand alone. "
             "Define it here, or begin In [2] with %%dag --shared."],
        ),
        (
            "df = 3",
            "%%dag --shared\ndef f():\n    return df",
            ["Error: In [3], line 3: This cell uses 'df', which only In [2] defines. A DAG cell must stand alone. "
             "Define it here, or begin In [2] with %%dag --shared."],
        ),
        ("", "%%dag a --scedule x\npass", ["Error: %%dag has no option --scedule. Did you mean '--schedule'?"]),
        ("", "%%dag a --schedule '61 * * * *'\n@task\ndef t(): ...\nt()", ["Error: In [3], line 1: "]),
        (
            "",
            "%%dag a\nx = (",
            ["Error: In [3], line 2: SyntaxError: '(' was never closed"],
        ),
        (
            "",
            "%%dag a\ndef f():\n    1 / 0\nf()",
            ["Error: In [3], line 3: ZeroDivisionError: division by zero", "Traceback (most recent call last):",
             '  File "<In [3]>", line 4, in <module>', "    f()", '  File "<In [3]>", line 3, in f', "    1 / 0",
             "ZeroDivisionError: division by zero"],
        ),
        (
            "from nbflow.operators.empty import EmptyOperator",
            "%%dag a\nEmptyOperator(task_id='x')\nEmptyOperator(task_id='x')",
            ["Error: In [3], line 3: Duplicate task id 'x' at line 3 in DAG 'a': first defined at line 2."],
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_dag_cell_is_one_line_and_the_frames_of_the_cell(
    shell: Shell, first_cell: str, cell: str, expected: list[str]
) -> None:
    # Given a cell with a mistake
    shell.run(first_cell or "pass")
    shown = [line for line in shell.fails(cell) if set(line) - set(" ~^")]  # versions of Python mark other parts
    # Then the notebook shows one line, and below it at most the frames of the cell
    assert len(shown) == len(expected)
    assert shown[0].startswith(expected[0])
    assert shown[1:] == expected[1:]


MOVED = "nbflow.dag.context moved to nbflow.authoring.context. Write: from nbflow import Context"


@pytest.mark.parametrize("head", ["%%dag a", "%%dag --shared"])
def test_the_error_of_an_old_import_in_a_dag_cell_names_the_new_module(shell: Shell, head: str) -> None:
    # Given a DAG cell or a shared cell that imports a moved module
    shown = shell.fails(f"{head}\nfrom nbflow.dag.context import Context")
    # Then the error names the new module
    assert shown[0] == f"Error: In [2], line 2: ModuleNotFoundError: No module named 'nbflow.dag'. {MOVED}"


def test_a_hint_below_the_error_of_an_old_import_in_a_plain_cell_names_the_new_module(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a cell without a magic that imports a moved module
    result = shell.shell.run_cell("from nbflow.dag.context import Context", store_history=True)
    # Then Python's error is shown as usual, with a hint below it
    assert isinstance(result.error_in_exec, ModuleNotFoundError)
    assert capsys.readouterr().err == f"{MOVED}\n"
    # And imports of other packages have no hint
    shell.shell.run_cell("import pandsa", store_history=True)
    assert capsys.readouterr().err == ""


def test_the_log_of_an_old_import_in_a_task_names_the_new_module(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a task that imports a moved module when it runs
    shell.run("%%dag a\n@task\ndef t():\n    from nbflow.dag.context import Context\nt()")
    # When the DAG is tested in the notebook
    shell.run("%dag test a")
    # Then its log names the new module
    assert MOVED in caplog.text


def test_a_cell_that_is_run_again_replaces_its_previous_text(shell: Shell) -> None:
    # Given helpers and a DAG cell, with a front end that sends cell ids
    def run(source: str, cell_id: str) -> bool:
        return bool(shell.shell.run_cell(source, store_history=True, cell_id=cell_id).success)

    assert run("import json", "a")
    assert run("%%dag --shared\ndef helper():\n    return json.dumps(1)", "b")
    assert run("%%dag one\nprint(helper())", "c")
    # When the helpers are changed, and both cells are run again
    assert run("%%dag --shared\ndef helper():\n    return json.dumps(2)", "b")
    assert run("%%dag one\nprint(helper())", "c")
    # Then the version contains the helpers once, with their new text
    [text] = current_session().dags["one"].version.files.values()
    assert (text.count("def helper"), "json.dumps(2)" in text) == (1, True)


def test_a_dag_cell_registers_a_version_that_is_not_scheduled(shell: Shell) -> None:
    # Given a DAG cell with a schedule
    shell.run(SALES)
    # Then the metastore has the version, but no scheduled DAG
    session = current_session()
    version = session.app.store.version("sales")
    assert version is not None
    assert (version.number, version.origin, [*version.files]) == (1, "kernel", ["notebook.ipynb"])
    assert session.app.store.dags() == []


def test_a_pause_of_the_scheduled_dag_does_not_block_runs_of_the_kernel(
    shell: Shell, notebook_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a notebook in the DAGs folder that the scheduler has parsed, and whose DAG is paused
    from nbflow.services import schedulers

    path = notebook_home / "dags" / "report.ipynb"
    path.write_text(notebook("%load_ext nbflow\nfrom nbflow import task", SALES))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    store = current_session().app.store
    schedulers.ensure(current_session().app)
    row = until("the file is parsed", lambda: store.dag("sales"))
    assert row.paused
    # When its kernel executes the same cell, and then runs the DAG
    shell.run(SALES)
    assert current_session().dags["sales"].version.number == row.version
    run = shell.run("run = %dag run sales\nrun")
    # Then the run succeeds, and the DAG is still paused
    assert run.wait(60) == "success"
    assert store.dag("sales").paused  # type: ignore[union-attr]


def test_an_unchanged_cell_has_the_same_version(shell: Shell) -> None:
    # Given a DAG cell that is run twice, and then changed and run
    numbers = []
    for source in (SALES, SALES, SALES.replace("[1, 2]", "[1]")):
        shell.run(source)
        numbers.append(current_session().dags["sales"].version.number)
    # Then only the change created a version
    assert numbers == [1, 1, 2]


def test_the_display_shows_how_the_saved_notebook_differs(
    shell: Shell, notebook_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a notebook in the DAGs folder, and a kernel that knows its path
    path = notebook_home / "dags" / "report.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    notes = []
    # When the DAG cell is run before the notebook is saved, with an older text saved, with a text saved that is not
    # self-contained, and with the same text saved
    for text in ("", SALES.replace("[1, 2]", "[]"), SALES.replace("[1, 2]", "df"), SALES):
        path.write_text(notebook("from nbflow import task", text))
        shell.run(SALES)
        notes.append(shell.outputs[0]["text/plain"].splitlines()[-2].partition("no scheduler running")[2])
    # Then all but the last have a note
    assert notes == [
        " · not saved yet: save the notebook to schedule this version",
        " · differs from the saved notebook, which is scheduled",
        " · the saved notebook has an error (cell 2, line 5)",
        "",
    ]


# -------------------------------------------------------------------------------------------------- %dag


def test_a_dag_test_runs_in_the_kernel(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a DAG
    shell.run(SALES)
    # When it is tested, then its result is the ended run, and prints of tasks are shown
    run = shell.run("run = %dag test sales --date 2024-01-31\nrun")
    assert "extracting\n" in capsys.readouterr().out
    assert (run.state, run.states) == ("success", {"extract": "success", "load": "success"})
    assert run.run.logical_date.isoformat() == "2024-01-31T00:00:00+00:00"


def test_a_breakpoint_in_a_dag_test_calls_the_breakpoint_hook(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a task with a breakpoint, and a breakpoint hook that records its caller
    callers: list[str] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: callers.append(sys._getframe(1).f_code.co_name))
    shell.run("%%dag a\n@task\ndef stops():\n    breakpoint()\nstops()")
    # When it is tested
    shell.run("%dag test a")
    # Then the task called the hook in this process
    assert callers == ["stops"]


def test_a_dag_test_runs_the_version_of_the_cell_and_cannot_be_paused(shell: Shell) -> None:
    # Given a DAG of a cell
    shell.run(SALES)
    version = current_session().dags["sales"].version
    # When it is tested
    run = shell.run("run = %dag test sales\nrun")
    # Then its run has the version of the cell, and a pause of the scheduled DAG does not block it
    assert run.run.version == version.number
    assert not run.run.pausable


def test_the_verbs_that_show_a_failed_run(shell: Shell) -> None:
    # Given a failed test run
    shell.run("%%dag a\n@task\ndef good(): ...\n@task\ndef bad(x):\n    raise ValueError('no')\nbad(good())")
    run = shell.run("run = %dag test a\nrun")
    # Then all verbs show the failure
    assert run.state == "failed"
    assert shell.run("%dag why a").data == {"bad": "ValueError: no"}
    assert run.why("bad").data == {"bad": "Its code raised: ValueError: no."}
    assert {name: row.state for name, row in run.tasks.data.items()} == {"good": "success", "bad": "failed"}
    assert shell.run("%dag show a --run last").key == run.key
    assert [row.run_id for row in shell.run("%dag runs a")] == [run.run_id]
    # And a cleared task is no longer failed
    assert [str(key) for key in shell.run("%dag clear a --failed")] == ["bad"]
    assert run.state == "queued"


def test_grid_and_gantt_of_several_runs(shell: Shell) -> None:
    # Given two test runs of a DAG, of which the second has a failed task
    body = "%%dag a\n@task\ndef t():\n    assert {0}\n@task\ndef u(x): ...\nu(t())"
    for date, assertion in (("2024-01-01", "True"), ("2024-01-02", "False")):
        shell.run(body.format(assertion))
        shell.run(f"%dag test a --date {date}")
    # Then the grid has a column for each run, and the Gantt chart a bar for each task that ran
    grid = shell.run("%dag grid a")
    assert list(grid.data.values()) == [
        {"t": "success", "u": "success"},
        {"t": "failed", "u": "upstream_failed"},
    ]
    assert grid._repr_mimebundle_().keys() == {"text/html", "text/plain"}
    gantt = shell.run("%dag gantt a")
    assert {task: [bar.state for bar in bars] for task, bars in gantt.data.items()} == {"t": ["failed"]}
    assert gantt.data["t"][0].queued_from is not None


def test_dry_run_next_runs_and_simulation(shell: Shell) -> None:
    # Given a DAG with a schedule
    shell.run(SALES)
    # Then the dry run of a backfill, the next runs and a simulated week have the expected runs
    backfill = shell.run("%dag backfill sales 2024-01-01 2024-01-03 --dry-run")
    assert [f"{date:%Y-%m-%d}" for date in backfill.dates] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert backfill.dry_run
    assert "3 runs will be created" in repr(backfill)
    assert len(shell.run("%dag next sales 3")) == 3
    simulation = shell.run("%dag simulate sales --days 7 --start 2024-03-01").data
    assert [run.state for run in simulation.runs] == ["success"] * len(simulation.runs)
    assert len(simulation.runs) >= 7


def test_list_selects_by_dag_id_and_tag(shell: Shell) -> None:
    # Given two DAGs of this kernel
    shell.run(SALES)
    shell.run("%%dag other --tags nightly\npass")
    # Then they are listed, or those of them whose id or tag contains the pattern
    assert list(shell.run("%dag list").data) == ["other", "sales"]
    assert list(shell.run("%dag list night").data) == ["other"]
    assert len(shell.run("%dag states").data) == 13


def test_the_list_shows_import_errors(shell: Shell, notebook_home: Path) -> None:
    # Given a notebook in the DAGs folder with an import error
    from nbflow.store.base import DagImportError

    store, now = current_session().app.store, current_session().app.clock.now()
    path = str(notebook_home / "dags" / "report.ipynb")
    store.put_import_errors(
        path, [DagImportError(fileloc=path, line=4, error="InvalidDag: no", cell="cell 2")], now=now
    )
    # Then the list shows it below the DAGs
    text = repr(shell.run("%dag list"))
    assert text.startswith("There is no DAG yet.")
    assert "Import errors" in text
    assert "report.ipynb, cell 2" in text
    assert "InvalidDag: no" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%dag shwo sales", "%dag has no verb 'shwo'. Did you mean 'show'?"),
        ("%dag show salse", "There is no DAG 'salse'. Did you mean 'sales'?"),
        ("%dag show", "%dag show: the following arguments are required: dag_id. Help: %dag show?"),
        ("%dag run sales --dat 2024-01-01", "%dag run: unknown option --dat. Did you mean '--date'?"),
        ("%dag next sales 3 4", "%dag next: unexpected argument '4'. Help: %dag next?"),
        ("%dag next sales -3", "%dag next: argument number: expected a positive integer, not '-3'"),
        ("%dag runs sales -n 0", "%dag runs: argument -n/--number: expected a positive integer, not '0'"),
        ("%dag simulate sales --days -3 --start 2024-03-04", "The end of the simulation, 2024-03-01T"),
        ("%dag test sales --date someday", "'someday' is not a date. Give one like 2024-01-31, "),
        ("%dag test sales -p rows", "'rows' is not NAME=VALUE. Write: -p rows=10"),
        ("%dag why sales", "DAG 'sales' has no run yet. Start one with: %dag run sales"),
        ("%dag pause sales", "sales exists only in this kernel, so it is not scheduled. To schedule it, save its "),
        ("%dag backfill sales 2024-01-05 2024-01-01", "from_date (2024-01-05T00:00:00+00:00) must not be after "),
        (
            "%dag backfill sales 2024-01-01 --reprocess all",
            "%dag backfill: argument --reprocess: invalid choice: 'all'",
        ),
        ("%dag schedule nowhere.ipynb --cron @daily", "There is no notebook nowhere.ipynb."),
        ("%dag list 'x", "%dag list 'x: no closing quotation. Close the quote."),
        ("%nbflow stat", "%nbflow has no verb 'stat'. Did you mean 'start'?"),
    ],
)
def test_a_mistake_in_a_magic_is_one_line_with_a_hint(shell: Shell, line: str, message: str) -> None:
    # Given a DAG and a line with a mistake
    shell.run(SALES)
    [shown] = shell.fails(line)
    # Then the error is one line
    assert shown.startswith(f"Error: {message}")


def test_a_mistake_in_a_function_is_one_line_too(shell: Shell) -> None:
    # Given the function of a verb
    shell.run("from nbflow.notebook import show")
    # Then its error is the same line, with its own class
    assert shell.fails("show('sales')") == ["Error: There is no DAG 'sales'. See: %dag list."]
    assert (
        shell.run("from nbflow.errors import DagNotFound\ntry:\n    show('x')\nexcept DagNotFound:\n    y = 1\ny") == 1
    )


@pytest.mark.parametrize("line", ["%dag backfill?", "%dag backfill --help", "%dag help backfill"])
def test_the_help_of_a_verb(shell: Shell, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    # When the help of a verb is requested
    shell.run(line)
    # Then it has the usage and an example
    out = capsys.readouterr().out
    assert out.startswith("usage: %dag backfill ")
    assert "Example: %dag backfill sales 2024-01-01 2024-01-31 --dry-run" in out


def test_dag_alone_lists_the_verbs(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # When the magic has no verb
    shell.run("%dag")
    # Then all verbs are listed
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in lines.VERBS)


def test_the_help_of_dag_cells(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # When the help of the cell magic is requested
    shell.run("%%dag --help\npass")
    # Then it has the options
    assert "--max-active-runs" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:`Completer.complete`:PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("%dag st", ["states"]),
        ("%dag run s", ["sales"]),
        ("run = %dag run s", ["sales"]),
        ("%dag logs sales ", ["extract", "load"]),
        ("%dag logs sales l", ["load"]),
        ("%dag clear sales extract l", ["load"]),
        ("%dag backfill sales 2024-01-01 --d", ["--dry-run"]),
        ("%dag backfill sales 2024-01-01 --reprocess f", ["failed"]),
        ("%%dag new --sch", ["--schedule"]),
    ],
)
def test_tab_completes(shell: Shell, line: str, completions: list[str]) -> None:
    # Given a DAG and an incomplete line
    shell.run(SALES)
    # Then Tab completes it
    assert shell.complete(line) == completions


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%dag why sales ", ["extract", "load"]),
        ("%dag run sales --w", ["--wait"]),
        ("%dag run sales --conf x -", ["--conf", "--date", "--param", "--run-id", "--wait"]),
        ("%%dag new --tag", ["--tags"]),
        ("%nbflow st", ["start", "status", "stop"]),
        ("%quiz dag", ["dag_concepts"]),
        ("%lab 01", ["01_hello_dag"]),
    ],
)
def test_completions_of_a_magic_contain_no_python_names(shell: Shell, line: str, expected: list[str]) -> None:
    # Given a DAG, and the completions that a notebook's front end requests
    from IPython.core.completer import provisionalcompleter

    shell.run(SALES)
    with provisionalcompleter():
        completions = list(shell.shell.Completer.completions(line, len(line)))
    # Then they are only those of the magic, and each replaces the last word
    assert [completion.text for completion in completions] == expected
    assert {(completion.start, completion.end) for completion in completions} == {(line.rindex(" ") + 1, len(line))}


@pytest.mark.filterwarnings("ignore:`Completer.complete`:PendingDeprecationWarning")
def test_python_code_is_completed_as_without_nbflow(shell: Shell) -> None:
    assert "json" in shell.complete("import js")


def test_outputs_without_pictures(shell: Shell) -> None:
    # Given a notebook whose outputs are saved without pictures
    shell.run("%config NbflowMagics.save_output = False")
    shell.run(SALES)
    # Then all outputs contain only text
    assert [output.keys() for output in shell.outputs] == [{"text/plain"}]
    run = shell.run("run = %dag test sales\nrun")
    assert all(output.keys() == {"text/plain"} for output in shell.outputs)
    assert shell.run("%dag list")._repr_mimebundle_().keys() == {"text/plain"}
    # And results are the same
    assert run.state == "success"


def test_config_has_precedence_over_the_setting(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a home with the setting save_output = false
    monkeypatch.setenv("NBFLOW__NOTEBOOK__SAVE_OUTPUT", "false")
    mime_types = [shell.run("%dag list")._repr_mimebundle_().keys()]
    # When %config sets it to True
    shell.run("%config NbflowMagics.save_output = True")
    mime_types.append(shell.run("%dag list")._repr_mimebundle_().keys())
    # Then outputs contain pictures
    assert mime_types == [{"text/plain"}, {"text/plain", "text/html"}]


def test_ipythons_configuration_has_precedence_over_the_setting(shell: Shell) -> None:
    # Given an IPython configuration with save_output = False, which is read before the extension is loaded
    shell.run("%unload_ext nbflow")
    shell.shell.config.NbflowMagics.save_output = False
    shell.run("%load_ext nbflow")
    # Then outputs contain only text
    assert shell.run("%dag list")._repr_mimebundle_().keys() == {"text/plain"}


def test_schedule_writes_a_dag_file_that_runs_the_notebook(shell: Shell, tmp_path: Path, notebook_home: Path) -> None:
    # Given a notebook
    (tmp_path / "weekly report.ipynb").write_text(notebook("x = 1"))
    # When it is scheduled
    path = shell.run('%dag schedule "weekly report.ipynb" --cron "0 6 * * 1" -p country=DE -p rows=3').data
    # Then a DAG file without import errors runs it by papermill
    from nbflow.sources.loading import load_source

    assert path == notebook_home / "dags" / "weekly_report_schedule.py"
    loaded = load_source(path)
    assert loaded.import_errors == ()
    [dag] = loaded.dags
    operator = dag.get_task("run")
    assert (dag.dag_id, dag.schedule, operator.parameters) == (  # type: ignore[union-attr]
        "weekly_report", "0 6 * * 1", {"country": "DE", "rows": 3}
    )  # fmt: skip
    assert operator.input_nb == str(tmp_path / "weekly report.ipynb")  # type: ignore[union-attr]
    # And scheduling it again replaces the file, but only if %dag schedule wrote it
    shell.run('%dag schedule "weekly report.ipynb" --cron @daily')
    assert "schedule='@daily'" in path.read_text()
    path.write_text("# mine")
    error = shell.fails('%dag schedule "weekly report.ipynb" --cron @daily')[0]
    assert "exists and was not written by %dag schedule" in error


@pytest.mark.parametrize(("tags", "warns"), [([], True), (["parameters"], False)])
def test_schedule_warns_if_the_notebook_overwrites_parameters(
    shell: Shell, tmp_path: Path, tags: list[str], warns: bool
) -> None:
    # Given a notebook whose cell with defaults has or lacks papermill's tag
    book = json.loads(notebook("country = 'FR'"))
    book["cells"][0]["metadata"]["tags"] = tags
    (tmp_path / "report.ipynb").write_text(json.dumps(book))
    # When it is scheduled with a parameter, then there is a warning if the cell would overwrite it
    message = repr(shell.run("%dag schedule report.ipynb --cron @daily -p country=DE"))
    assert ("No cell of report.ipynb has the tag 'parameters'" in message) == warns
    # And without parameters there is no warning
    assert "tag" not in repr(shell.run("%dag schedule report.ipynb --cron @daily"))


def test_unload_ext_removes_the_magics(shell: Shell) -> None:
    # When the extension is unloaded
    shell.run("%unload_ext nbflow")
    # Then the magics are removed, and loading it registers them again
    assert not shell.shell.run_cell("%dag list").success
    shell.run("%load_ext nbflow")
    assert list(shell.run("%dag list").data) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("%quiz", "Quizzes: dag_concepts. Open one with: %quiz dag_concepts"),
        ("%lab", "Labs: 01_hello_dag. Open one with: %lab 01_hello_dag"),
    ],
)
def test_quiz_and_lab_without_arguments_list_quizzes_and_labs(shell: Shell, line: str, text: str) -> None:
    assert repr(shell.run(f"result = {line}\nresult")) == text


def test_showing_a_question_is_no_try(shell: Shell) -> None:
    # When a question is shown by its number
    question = shell.run("question = %quiz dag_concepts 2\nquestion")
    # Then its choices are shown, and no try is recorded
    assert "   a) " in repr(question)
    assert "0 of 10 right" in repr(shell.run("shown = %quiz dag_concepts\nshown"))
    assert "wrong so far" not in repr(shell.run("shown = %quiz dag_concepts\nshown"))


# --------------------------------------------------------------------------------------------------------------- params

WITH_PARAMS = """
%%dag sized --param rows=10
@task
def show(params):
    print(params["rows"])

show()
"""


INVALID = [
    ("%dag test sized --conf [1]", "Error: --conf must be a JSON object. Write: --conf "),
    (f"%dag test sized --conf {'[' * 20_000}", "Error: --conf is nested too deeply. Write: --conf "),
    (f"%dag test sized -p rows={'[' * 20_000}", "Error: rows is nested too deeply."),
    (
        "%dag test sized -p rows=NaN",
        """Error: A run's conf must be JSON: conf["rows"] is nan, which JSON does not have.""",
    ),
    (
        "from datetime import date\nfrom nbflow.notebook import run\nrun('sized', conf={'day': date(2024, 1, 1)})",
        """Error: A run's conf must be JSON: conf["day"] is of type date, which JSON does not have.""",
    ),
    (
        "%%dag other --param rows=NaN\nprint()",
        ": Param 'rows' of DAG 'other': A param's default must be JSON: default is nan,",
    ),
    (
        "%%dag\nfrom nbflow import DAG, Param\nwith DAG('p', params={'s': Param('a', pattern='(')}):\n    pass",
        ", line 3: Param 's' of DAG 'p': Its pattern '(' is invalid: missing ).",
    ),
]


def test_the_error_of_an_invalid_param_or_conf_is_one_line(shell: Shell) -> None:
    shell.run(WITH_PARAMS.lstrip())
    shown = [shell.fails(cell) for cell, _ in INVALID]
    assert [(len(lines), message in lines[0]) for lines, (_, message) in zip(shown, INVALID, strict=True)] == (
        [(1, True)] * len(INVALID)
    ), shown
