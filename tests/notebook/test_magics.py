"""The magics in an IPython shell of this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nbflow.notebook import magic_parser as lines
from nbflow.notebook.session import session
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


def test_a_dag_cell_shows_its_graph_and_what_it_includes_from_other_cells(shell: Shell) -> None:
    # Given helpers that need an import
    shell.run("import json")
    shell.run("%%dag --shared\ndef text(x):\n    return json.dumps(x)")
    # When a DAG cell uses them
    shell.run("%%dag sales\n@task\ndef t():\n    return text(1)\nt()")
    # Then it shows the graph as a picture and as text, with what travels and what serves it
    [shown] = shell.shown
    assert shown.keys() == {"text/html", "text/plain"}
    assert '<img alt="' in shown["text/html"]
    assert "data:image/svg+xml;base64," in shown["text/html"]
    text = shown["text/plain"].splitlines()
    assert text[0] == "DAG sales"
    assert text[-2].startswith("version 1 · <kernel ")
    assert text[-2].endswith(">, In [4] · no scheduler running")
    included = "from nbflow import task (In [1]) · import json (In [2]) · helpers (In [3])"
    assert text[-1] == f"Included from other cells: {included}"


def test_what_a_dag_cell_defines_can_be_tried_out(shell: Shell) -> None:
    # Given a DAG cell
    shell.run(SALES)
    # Then its functions are there for the cells below
    assert shell.run("load.function([1, 2, 3])") == 3


def test_a_dag_cell_that_prints_shows_it(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a DAG cell that prints while it is defined
    shell.run("%%dag a\nprint('defining')")
    # Then that is seen
    assert "defining\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "cell", "said"),
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
def test_a_mistake_in_a_dag_cell_is_one_line_and_the_users_own_frames(
    shell: Shell, before: str, cell: str, said: list[str]
) -> None:
    # Given a cell with a mistake
    shell.run(before or "pass")
    lines_shown = [line for line in shell.fails(cell) if set(line) - set(" ~^")]  # versions of Python mark other parts
    # Then the notebook shows one line, and below it at most the frames of the cell itself
    assert len(lines_shown) == len(said)
    assert lines_shown[0].startswith(said[0])
    assert lines_shown[1:] == said[1:]


MOVED = "nbflow.dag.context moved to nbflow.authoring.context. Write: from nbflow import Context"


@pytest.mark.parametrize("head", ["%%dag a", "%%dag --shared"])
def test_a_dag_cell_that_imports_from_an_old_place_is_told_the_new_one(shell: Shell, head: str) -> None:
    # Given a DAG cell, or one of helpers, that was written before a module moved
    said = shell.fails(f"{head}\nfrom nbflow.dag.context import Context")
    # Then its red line names the new place
    assert said[0] == f"Error: In [2], line 2: ModuleNotFoundError: No module named 'nbflow.dag'. {MOVED}"


def test_a_plain_cell_that_imports_from_an_old_place_is_told_the_new_one(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a cell that is none of nbflow's, with an import of before a module moved
    result = shell.shell.run_cell("from nbflow.dag.context import Context", store_history=True)
    # Then Python's error is shown as ever, and the new place under it
    assert isinstance(result.error_in_exec, ModuleNotFoundError)
    assert capsys.readouterr().err == f"{MOVED}\n"
    # And nothing is said of other packages
    shell.shell.run_cell("import pandsa", store_history=True)
    assert capsys.readouterr().err == ""


def test_a_task_that_a_magic_runs_is_told_where_what_it_imports_is(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a task that imports when it runs
    shell.run("%%dag a\n@task\ndef t():\n    from nbflow.dag.context import Context\nt()")
    # When it is tried in the notebook
    shell.run("%dag test a")
    # Then its log names the new place
    assert MOVED in caplog.text


def test_a_cell_that_is_run_again_takes_its_own_place(shell: Shell) -> None:
    # Given a DAG cell that was run, and then a second version of it, with a front end that names its cells
    def run(source: str, cell_id: str) -> bool:
        return bool(shell.shell.run_cell(source, store_history=True, cell_id=cell_id).success)

    assert run("import json", "a")
    assert run("%%dag --shared\ndef helper():\n    return json.dumps(1)", "b")
    assert run("%%dag one\nprint(helper())", "c")
    # When the helpers are changed and run again, then the DAG
    assert run("%%dag --shared\ndef helper():\n    return json.dumps(2)", "b")
    assert run("%%dag one\nprint(helper())", "c")
    # Then its version holds the helpers once, as they are now
    [text] = session().dags["one"].version.files.values()
    assert (text.count("def helper"), "json.dumps(2)" in text) == (1, True)


def test_the_kernels_version_is_its_own_and_nothing_is_scheduled(shell: Shell) -> None:
    # Given a DAG cell with a schedule
    shell.run(SALES)
    # Then the metastore knows the version, and no schedule follows it
    here = session()
    version = here.app.store.version("sales")
    assert version is not None
    assert (version.number, version.origin, [*version.files]) == (1, "kernel", ["notebook.ipynb"])
    assert here.app.store.dags() == []


def test_a_pause_of_the_saved_notebook_does_not_hold_the_kernels_runs(
    shell: Shell, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a notebook in the DAGs folder that the scheduler has read: its DAG is there, and paused
    from nbflow.services import schedulers

    path = own_home / "dags" / "report.ipynb"
    path.write_text(notebook("%load_ext nbflow\nfrom nbflow import task", SALES))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    store = session().app.store
    schedulers.ensure(session().app)
    row = until("the file is read", lambda: store.dag("sales"))
    assert row.paused
    # When its kernel runs the same cell, and then the DAG
    shell.run(SALES)
    assert session().dags["sales"].version.number == row.version
    run = shell.run("run = %dag run sales\nrun")
    # Then the run goes on, and the DAG is as paused as before
    assert run.wait(60) == "success"
    assert store.dag("sales").paused  # type: ignore[union-attr]


def test_the_same_cell_is_the_same_version(shell: Shell) -> None:
    # Given a DAG cell that is run twice, and once changed
    numbers = []
    for source in (SALES, SALES, SALES.replace("[1, 2]", "[1]")):
        shell.run(source)
        numbers.append(session().dags["sales"].version.number)
    # Then only the change made a version
    assert numbers == [1, 1, 2]


def test_the_display_shows_how_the_saved_notebook_differs(
    shell: Shell, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a kernel that knows its notebook, in the DAGs folder
    path = own_home / "dags" / "report.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    said = []
    # When the DAG cell is run before the notebook is saved, with an older text saved, with one that cannot stand
    # alone, and with the same text saved
    for text in ("", SALES.replace("[1, 2]", "[]"), SALES.replace("[1, 2]", "df"), SALES):
        path.write_text(notebook("from nbflow import task", text))
        shell.run(SALES)
        said.append(shell.shown[0]["text/plain"].splitlines()[-2].partition("no scheduler running")[2])
    # Then all but the last say so
    assert said == [
        " · not saved yet: save the notebook to schedule this version",
        " · differs from the saved notebook, which is scheduled",
        " · the saved notebook has an error (cell 2, line 5)",
        "",
    ]


# -------------------------------------------------------------------------------------------------- %dag


def test_a_test_run_happens_here(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a DAG
    shell.run(SALES)
    # When it is tested, its value is the ended run, and its prints are seen
    run = shell.run("run = %dag test sales --date 2024-01-31\nrun")
    assert "extracting\n" in capsys.readouterr().out
    assert (run.state, run.states) == ("success", {"extract": "success", "load": "success"})
    assert run.run.logical_date.isoformat() == "2024-01-31T00:00:00+00:00"


def test_a_breakpoint_stops_in_a_test_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a task with a breakpoint, and a debugger that notes where it was called
    seen: list[str] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: seen.append(sys._getframe(1).f_code.co_name))
    shell.run("%%dag a\n@task\ndef stops():\n    breakpoint()\nstops()")
    # When it is tested
    shell.run("%dag test a")
    # Then the debugger was called from the task, in this very process
    assert seen == ["stops"]


def test_a_test_is_a_run_of_the_cells_own_version_and_heeds_no_pause(shell: Shell) -> None:
    # Given a DAG of a cell
    shell.run(SALES)
    own = session().dags["sales"].version
    # When it is tested
    run = shell.run("run = %dag test sales\nrun")
    # Then no other version of it is made, and a pause of the schedule is none of the run's
    assert run.run.version == own.number
    assert not run.run.pausable


def test_looking_at_a_failed_run(shell: Shell) -> None:
    # Given a test run that failed
    shell.run("%%dag a\n@task\ndef good(): ...\n@task\ndef bad(x):\n    raise ValueError('no')\nbad(good())")
    run = shell.run("run = %dag test a\nrun")
    # Then it says so in every way
    assert run.state == "failed"
    assert shell.run("%dag why a").data == {"bad": "ValueError: no"}
    assert run.why("bad").data == {"bad": "Its code raised."}
    assert {name: row.state for name, row in run.tasks.data.items()} == {"good": "success", "bad": "failed"}
    assert shell.run("%dag show a --run last").key == run.key
    assert [one.run_id for one in shell.run("%dag runs a")] == [run.run_id]
    # And a cleared task is no longer failed
    assert [str(key) for key in shell.run("%dag clear a --failed")] == ["bad"]
    assert run.state == "queued"


def test_how_it_has_been_going(shell: Shell) -> None:
    # Given two test runs of a DAG of which one task fails the second time
    body = "%%dag a\n@task\ndef t():\n    assert {0}\n@task\ndef u(x): ...\nu(t())"
    for date, held in (("2024-01-01", "True"), ("2024-01-02", "False")):
        shell.run(body.format(held))
        shell.run(f"%dag test a --date {date}")
    # Then the grid has a column for each, and the gantt the bars of what ran
    grid = shell.run("%dag grid a")
    assert list(grid.data.values()) == [
        {"t": "success", "u": "success"},
        {"t": "failed", "u": "upstream_failed"},
    ]
    assert grid._repr_mimebundle_().keys() == {"text/html", "text/plain"}
    gantt = shell.run("%dag gantt a")
    assert {task: [bar.state for bar in bars] for task, bars in gantt.data.items()} == {"t": ["failed"]}
    assert gantt.data["t"][0].queued_from is not None


def test_planning_ahead(shell: Shell) -> None:
    # Given a scheduled DAG
    shell.run(SALES)
    # Then a dry run names exactly the runs, the next ones are known, and a week can be watched
    dry = shell.run("%dag backfill sales 2024-01-01 2024-01-03 --dry-run")
    assert [f"{date:%Y-%m-%d}" for date in dry.dates] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert dry.dry_run
    assert "3 runs will be created" in repr(dry)
    assert len(shell.run("%dag next sales 3")) == 3
    simulation = shell.run("%dag simulate sales --days 7 --start 2024-03-01").data
    assert [run.state for run in simulation.runs] == ["success"] * len(simulation.runs)
    assert len(simulation.runs) >= 7


def test_listing(shell: Shell) -> None:
    # Given two DAGs of this kernel
    shell.run(SALES)
    shell.run("%%dag other --tags nightly\npass")
    # Then they are listed, narrowed by a part of the id or a tag
    assert list(shell.run("%dag list").data) == ["other", "sales"]
    assert list(shell.run("%dag list night").data) == ["other"]
    assert len(shell.run("%dag states").data) == 13


def test_files_that_do_not_load_are_listed(shell: Shell, own_home: Path) -> None:
    # Given a notebook in the DAGs folder that cannot be loaded
    from nbflow.store.base import DagImportError

    store, now = session().app.store, session().app.clock.now()
    path = str(own_home / "dags" / "report.ipynb")
    store.put_import_errors(
        path, [DagImportError(fileloc=path, line=4, error="InvalidDag: no", cell="cell 2")], now=now
    )
    # Then the list says so, below the DAGs
    text = repr(shell.run("%dag list"))
    assert text.startswith("There is no DAG yet.")
    assert "Import errors" in text
    assert "report.ipynb, cell 2" in text
    assert "InvalidDag: no" in text


@pytest.mark.parametrize(
    ("line", "said"),
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
        ("%dag why sales", "DAG 'sales' has no run yet."),
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
def test_a_mistake_is_one_line_with_the_way_out(shell: Shell, line: str, said: str) -> None:
    # Given a DAG and a line with a mistake
    shell.run(SALES)
    [shown] = shell.fails(line)
    # Then there is one line
    assert shown.startswith(f"Error: {said}")


def test_the_twin_shows_its_mistakes_in_one_line_too(shell: Shell) -> None:
    # Given the plain function
    shell.run("from nbflow.notebook import show")
    # Then its mistake is the same line, and the error keeps its class
    assert shell.fails("show('sales')") == ["Error: There is no DAG 'sales'. See: %dag list."]
    assert (
        shell.run("from nbflow.errors import DagNotFound\ntry:\n    show('x')\nexcept DagNotFound:\n    y = 1\ny") == 1
    )


@pytest.mark.parametrize("line", ["%dag backfill?", "%dag backfill --help", "%dag help backfill"])
def test_every_verb_explains_itself(shell: Shell, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a question
    shell.run(line)
    # Then the verb's help answers
    out = capsys.readouterr().out
    assert out.startswith("usage: %dag backfill ")
    assert "Example: %dag backfill sales 2024-01-01 2024-01-31 --dry-run" in out


def test_dag_alone_lists_the_verbs(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given no verb
    shell.run("%dag")
    # Then all are listed
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in lines.VERBS)


def test_options_of_dag_cells_are_explained(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a question about the cell magic
    shell.run("%%dag --help\npass")
    # Then each option is there
    assert "--max-active-runs" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:`Completer.complete`:PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("line", "offers"),
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
def test_tab_completes(shell: Shell, line: str, offers: list[str]) -> None:
    # Given a DAG and a line that is not finished
    shell.run(SALES)
    # Then Tab offers how it can go on
    assert shell.complete(line) == offers


@pytest.mark.parametrize(
    ("line", "offers"),
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
def test_tab_offers_nothing_of_pythons_own_where_a_magic_is_typed(shell: Shell, line: str, offers: list[str]) -> None:
    # Given a DAG, and what a notebook's front end asks for
    from IPython.core.completer import provisionalcompleter

    shell.run(SALES)
    with provisionalcompleter():
        found = list(shell.shell.Completer.completions(line, len(line)))
    # Then it gets the verb's words alone, each in the place of the word that was begun
    assert [one.text for one in found] == offers
    assert {(one.start, one.end) for one in found} == {(line.rindex(" ") + 1, len(line))}


@pytest.mark.filterwarnings("ignore:`Completer.complete`:PendingDeprecationWarning")
def test_python_is_completed_as_before(shell: Shell) -> None:
    assert "json" in shell.complete("import js")


def test_small_outputs(shell: Shell) -> None:
    # Given a notebook whose outputs should stay small
    shell.run("%config NbflowMagics.save_output = False")
    shell.run(SALES)
    # Then they hold text alone, also that of a run and of the list
    assert [shown.keys() for shown in shell.shown] == [{"text/plain"}]
    run = shell.run("run = %dag test sales\nrun")
    assert all(shown.keys() == {"text/plain"} for shown in shell.shown)
    assert shell.run("%dag list")._repr_mimebundle_().keys() == {"text/plain"}
    # And values are what they were
    assert run.state == "success"


def test_what_config_says_goes_before_the_setting(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a home whose setting keeps outputs small
    monkeypatch.setenv("NBFLOW__NOTEBOOK__SAVE_OUTPUT", "false")
    kinds = [shell.run("%dag list")._repr_mimebundle_().keys()]
    # When this notebook asks for pictures all the same
    shell.run("%config NbflowMagics.save_output = True")
    kinds.append(shell.run("%dag list")._repr_mimebundle_().keys())
    # Then it gets them
    assert kinds == [{"text/plain"}, {"text/plain", "text/html"}]


def test_what_ipythons_own_configuration_says_goes_before_the_setting(shell: Shell) -> None:
    # Given a file of IPython's that keeps outputs small, which is read before the extension is loaded
    shell.run("%unload_ext nbflow")
    shell.shell.config.NbflowMagics.save_output = False
    shell.run("%load_ext nbflow")
    # Then they are
    assert shell.run("%dag list")._repr_mimebundle_().keys() == {"text/plain"}


def test_a_notebook_is_scheduled_by_an_ordinary_file(shell: Shell, tmp_path: Path, own_home: Path) -> None:
    # Given a notebook
    (tmp_path / "weekly report.ipynb").write_text(notebook("x = 1"))
    # When it is scheduled
    path = shell.run('%dag schedule "weekly report.ipynb" --cron "0 6 * * 1" -p country=DE -p rows=3').data
    # Then there is a DAG file that runs it by papermill, and that loads
    from nbflow.sources.loading import load_source

    assert path == own_home / "dags" / "weekly_report_schedule.py"
    loaded = load_source(path)
    assert loaded.import_errors == ()
    [dag] = loaded.dags
    operator = dag.get_task("run")
    assert (dag.dag_id, dag.schedule, operator.parameters) == (  # type: ignore[union-attr]
        "weekly_report", "0 6 * * 1", {"country": "DE", "rows": 3}
    )  # fmt: skip
    assert operator.input_nb == str(tmp_path / "weekly report.ipynb")  # type: ignore[union-attr]
    # And scheduling it again changes that file, but never one that somebody else wrote
    shell.run('%dag schedule "weekly report.ipynb" --cron @daily')
    assert "schedule='@daily'" in path.read_text()
    path.write_text("# mine")
    error = shell.fails('%dag schedule "weekly report.ipynb" --cron @daily')[0]
    assert "exists and was not written by %dag schedule" in error


@pytest.mark.parametrize(("tags", "warned"), [([], True), (["parameters"], False)])
def test_parameters_that_a_notebook_would_undo_are_told_when_it_is_scheduled(
    shell: Shell, tmp_path: Path, tags: list[str], warned: bool
) -> None:
    # Given a notebook with defaults, in a cell with or without papermill's tag
    book = json.loads(notebook("country = 'FR'"))
    book["cells"][0]["metadata"]["tags"] = tags
    (tmp_path / "report.ipynb").write_text(json.dumps(book))
    # When it is scheduled with a parameter; then it is said if the default would win
    said = repr(shell.run("%dag schedule report.ipynb --cron @daily -p country=DE"))
    assert ("No cell of report.ipynb has the tag 'parameters'" in said) == warned
    # And without parameters there is nothing to say
    assert "tag" not in repr(shell.run("%dag schedule report.ipynb --cron @daily"))


def test_unloading_takes_everything_away(shell: Shell) -> None:
    # Given a loaded extension
    shell.run("%unload_ext nbflow")
    # Then the magics are gone, and loading brings them back
    assert not shell.shell.run_cell("%dag list").success
    shell.run("%load_ext nbflow")
    assert list(shell.run("%dag list").data) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%quiz", "Quizzes: dag_concepts. Open one with: %quiz dag_concepts"),
        ("%lab", "Labs: 01_hello_dag. Open one with: %lab 01_hello_dag"),
    ],
)
def test_a_teaching_magic_alone_lists_what_there_is(shell: Shell, line: str, said: str) -> None:
    # Given nothing but the magic; then it lists, as its help promises, and that is no error
    assert repr(shell.run(f"shown = {line}\nshown")) == said


def test_a_question_without_an_answer_is_shown_and_counts_as_no_try(shell: Shell) -> None:
    # Given a question that is asked for by its number
    shown = shell.run("shown = %quiz dag_concepts 2\nshown")
    # Then it stands there, and nothing was judged
    assert "   a) " in repr(shown)
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


UNUSABLE = [
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


def test_a_param_or_conf_that_cannot_be_used_is_one_line(shell: Shell) -> None:
    shell.run(WITH_PARAMS.lstrip())
    shown = [shell.fails(cell) for cell, _ in UNUSABLE]
    assert [(len(lines), says in lines[0]) for lines, (_, says) in zip(shown, UNUSABLE, strict=True)] == (
        [(1, True)] * len(UNUSABLE)
    ), shown
