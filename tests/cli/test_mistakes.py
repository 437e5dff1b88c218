"""Errors: one line on stderr, nothing on stdout, a reliable exit code, and no traceback."""

from __future__ import annotations

import json

import pytest

from nbflow.cli import info, output
from nbflow.cli import main as entry
from nbflow.cli.unavailable import ABSENT
from tests.cli.conftest import BROKEN


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("dgas list", 2, "nbflow: Unknown command 'dgas'. Did you mean 'dags'? See: nbflow --help."),
        ("dags lst", 2, "nbflow dags: unknown command 'lst'. Did you mean 'list'?"),
        ("dags list --outptu json", 2, "nbflow dags list: unknown option --outptu. Did you mean '--output'?"),
        ("dags list --loca", 2, "nbflow dags list: unknown option --loca. Did you mean '--local'?"),
        ("--nonsense", 2, "nbflow: Unknown option '--nonsense'. See: nbflow --help."),
        ("db frobnicate", 2, "nbflow db: unknown command 'frobnicate'. Commands: init, migrate, upgrade, downgrade,"),
        ("dags list extra", 2, "nbflow dags list: unexpected argument 'extra'. Usage: nbflow dags list [-h]"),
        ("dags list -o xml", 2, "nbflow dags list: argument -o/--output: invalid choice: 'xml'"),
        ("dags trigger", 2, "nbflow dags trigger: the following arguments are required: dag_id."),
        ("dags trigger sales -c nope", 2, "nbflow: --conf is not JSON: Expecting value"),
        ("dags trigger sales -c [1]", 2, "nbflow: --conf must be a JSON object."),
        ("dags trigger sales -l someday", 2, "nbflow: 'someday' is not a date. Give one like 2024-01-31,"),
        ("dags list --columns dag_id,onwers", 2, "nbflow: Unknown column 'onwers'. Did you mean 'owners'?"),
        ("dags pause ( --treat-dag-id-as-regex", 2, "nbflow: '(' is not a regular expression:"),
        (
            "dags next-execution sales -n 0",
            2,
            "nbflow dags next-execution: argument -n/--num-executions: expected a positive integer",
        ),
        ("jobs list --limit -1", 2, "nbflow jobs list: argument --limit: expected a positive integer, not '-1'."),
        ("quiz nope", 1, "nbflow: There is no quiz 'nope'. The quizzes are: dag_concepts."),
        ("quiz dag_concepts 1", 2, "nbflow quiz: no answer."),
        ("quiz dag_concepts 99 a", 1, "nbflow: dag_concepts has questions 1 to 10, not 99."),
        ("labs nope", 1, "nbflow: There is no lab 'nope'. The labs are: 01_hello_dag."),
        ("labs 01_hello_dag 0", 2, "nbflow labs: argument EXERCISE: expected a positive integer, not '0'."),
        ("dags list-runs", 2, "nbflow dags list-runs: the following arguments are required: DAG_ID."),
        ("dags backfill sales", 2, "nbflow dags backfill: no date."),
        ("dags delete sales", 1, "nbflow: There is no DAG 'sales'."),
        ("dags state sales 2024-01-01", 1, "nbflow: There is no DAG 'sales'."),
        ("dags test sales -S /no/such.py", 1, "nbflow: There is no file /no/such.py."),
        ("variables get region", 1, "nbflow: Variable region does not exist."),
        ("pools get fast", 1, "nbflow: There is no pool 'fast'."),
        ("connections get db", 1, "nbflow: There is no connection 'db'."),
        ("config get-value core executer", 1, "nbflow: this name: [core] has no option 'executer'. Did you mean"),
        ("backfill cancel 7", 1, "nbflow: There is no backfill 7."),
        ("jobs check", 1, "nbflow: No alive jobs found."),
        ("lint", 1, "nbflow: No DAG files in "),
    ],
)
def test_a_mistake_is_one_line(nbflow, line, code, message):
    result = nbflow(*line.split())
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1
    assert (result.out, result.code) == ("", code)


@pytest.mark.parametrize("command", sorted(ABSENT))
def test_the_error_of_an_unavailable_command_names_its_replacement(nbflow, command):
    result = nbflow(*command.split(), "-p", "8080")
    assert result.err.startswith(f"nbflow {command} is not in this release (")
    assert (result.out, result.code) == ("", 2)
    assert result.err.count("\n") == 1


def test_the_error_of_an_unavailable_option_names_its_replacement(nbflow):
    result = nbflow("dags", "test", "sales", "--use-executor")
    assert result.err.startswith("nbflow dags test --use-executor is not in this release (")
    assert result.code == 2


def test_the_error_of_an_unknown_dag_names_the_nearest(nbflow, sales):
    result = nbflow("dags", "test", "slaes", "-S", sales)
    assert result.err == f"nbflow: {sales} defines no DAG 'slaes'. Did you mean 'sales'?\n"
    assert result.code == 1


def test_the_error_of_an_unknown_task_names_the_nearest(nbflow, sales):
    result = nbflow("tasks", "test", "sales", "extrat", "-S", sales)
    assert "DAG 'sales' has no task 'extrat'. Did you mean 'extract'?" in result.err
    assert result.code == 1


def test_an_import_error_has_file_and_line(nbflow, dag_file):
    path = dag_file("broken.py", BROKEN)
    result = nbflow("dags", "test", "broken", "-S", path)
    assert result.err.startswith(f"nbflow: {path}:4: AirflowTimetableInvalid: ")
    assert result.code == 1


MOVED = "No module named 'nbflow.dag'. nbflow.dag.loading moved to nbflow.sources.loading."


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("dags check {path}", 1),
        ("dags test old -S {path}", 1),
        ("dags list-import-errors --local", 0),
        ("lint {path}", 1),
    ],
)
def test_the_error_of_an_old_import_names_the_new_module_in_each_command(nbflow, in_folder, line, code):
    path = in_folder("old.py", "from nbflow import DAG\nfrom nbflow.dag.loading import load_source\nDAG('old')\n")
    result = nbflow(*line.format(path=path).split())
    assert f"ModuleNotFoundError: {MOVED}" in " ".join(f"{result.out} {result.err}".split())
    assert result.code == code


def test_the_log_of_an_old_import_in_a_task_names_the_new_module(nbflow, dag_file):
    lines = ["from nbflow import DAG, task", "with DAG('old'):", "    @task", "    def t():"]
    path = dag_file("old.py", "\n".join([*lines, "        import nbflow.dag.loading", "    t()"]))
    result = nbflow("dags", "test", "old", "-S", path)
    assert f"Task failed: ModuleNotFoundError: {MOVED}\n" in result.err
    assert result.code == 1


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("/proc/nowhere", "nbflow: The folder /proc/nowhere cannot be created: No such file or directory."),
        ("/dev/null", "nbflow: /dev/null/nbflow.toml cannot be read: Not a directory. Set NBFLOW_HOME"),
    ],
)
@pytest.mark.parametrize("line", ["dags list", "db init", "scheduler", "status", "variables set a 1"])
def test_the_error_of_an_unusable_home_names_it(nbflow, monkeypatch, line, home, message):
    monkeypatch.setenv("NBFLOW_HOME", home)
    result = nbflow(*line.split())
    assert result.err.startswith(message)
    assert (result.out, result.code, result.err.count("\n")) == ("", 1, 1)


def test_the_error_of_a_folder_that_cannot_be_created_names_the_setting(nbflow, monkeypatch):
    monkeypatch.setenv("NBFLOW__CORE__DAGS_FOLDER", "/proc/dags")
    result = nbflow("dags", "list")
    assert result.err == (
        "nbflow: The folder /proc/dags cannot be created: No such file or directory. "
        "It comes from NBFLOW__CORE__DAGS_FOLDER.\n"
    )
    assert result.code == 1


def test_creating_a_missing_dags_folder_is_logged(nbflow, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NBFLOW__CORE__DAGS_FOLDER", str(tmp_path / "dgas"))
    first, again = nbflow("dags", "list"), nbflow("dags", "list")
    assert (first.code, again.code) == (0, 0)
    assert [record.message for record in caplog.records] == [
        f"Created the DAGs folder {tmp_path}/dgas, which did not exist. It comes from NBFLOW__CORE__DAGS_FOLDER."
    ]


def test_max_active_runs_of_a_backfill_must_be_positive(nbflow, sales):
    nbflow("dags", "test", "sales", "-S", sales)
    line = ("backfill", "create", "--dag-id", "sales", "--from-date", "2024-01-01", "--to-date", "2024-01-02")
    result = nbflow(*line, "--max-active-runs", "0")
    assert result.err == "nbflow: max_active_runs must be at least 1, not 0.\n"
    assert (result.out, result.code) == ("", 1)


def test_an_internal_error_is_one_line_and_has_a_traceback_with_v(nbflow, monkeypatch):
    # Given a command with an internal error
    def broken(call):
        raise ZeroDivisionError("by nought")

    from nbflow.cli.terminal_command import terminal_command

    monkeypatch.setattr(info, "COMMANDS", (terminal_command("version", run=broken),))
    # When it is called without and with -v
    short, long = nbflow("version"), nbflow("-v", "version")
    # Then -v adds the traceback
    assert short.err == (
        "nbflow: Internal error: ZeroDivisionError: by nought. Run it again with -v for the traceback.\n"
    )
    assert (short.code, long.code) == (1, 1)
    assert long.err.startswith("Traceback (most recent call last):")


def test_an_interrupt_prints_no_traceback(nbflow, monkeypatch):
    def interrupted(call):
        raise KeyboardInterrupt

    from nbflow.cli.terminal_command import terminal_command

    monkeypatch.setattr(info, "COMMANDS", (terminal_command("version", run=interrupted),))
    result = nbflow("version")
    assert (result.err, result.code) == ("nbflow: Interrupted.\n", 130)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_help_names_every_command(nbflow, words):
    result = nbflow(*words)
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines() if line.startswith("  ")] == list(entry.GROUPS)


@pytest.mark.parametrize("group", entry.GROUPS)
def test_every_command_has_help(nbflow, group):
    for command in entry.commands_of(group):
        result = nbflow(*command.name.split(), "--help")
        assert result.code == 0
        assert result.out.startswith(f"usage: nbflow {command.name} ")
        assert command.help in result.out.replace("\n", " ")


def test_errors_are_red_only_on_a_terminal(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    class File:
        def isatty(self):
            return False

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert output.coloured("no", output.RED, Terminal()) == "\x1b[31mno\x1b[0m"
    assert output.coloured("no", output.RED, File()) == "no"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.coloured("no", output.RED, Terminal()) == "no"


def test_control_characters_in_stored_texts_are_escaped(nbflow):
    nbflow("pools", "set", "p", "1", "a\x1b[2Jb\x07")
    assert "a\\x1b[2Jb\\x07" in nbflow("pools", "list").out


# -------------------------------------------------------------------------------------------------------------- params

BACKTRACKING = """
    from nbflow import DAG, Param
    from nbflow.operators.empty import EmptyOperator

    with DAG("tags", schedule=None, params={"s": Param("a", type="string", pattern="^(a+)+$")}):
        EmptyOperator(task_id="e")
"""


@pytest.mark.parametrize("command", ["test", "trigger"])
def test_a_pattern_with_exponential_backtracking_does_not_hang(nbflow, dag_file, command):
    # Given a pattern and a text for which Python's re needs exponential time: the test would time out
    path, text = dag_file("tags.py", BACKTRACKING), "a" * 60 + "!"
    result = nbflow("dags", command, "tags", "-S", path, "-c", json.dumps({"s": text}))
    assert result.err == f"nbflow: Param 's': '{text}' does not fit pattern: '^(a+)+$'.\n"
    assert (result.out, result.code) == ("", 1)


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1"])
def test_an_invalid_pattern_is_an_import_error_with_its_line(nbflow, dag_file, pattern):
    path = dag_file("tags.py", BACKTRACKING.replace('"^(a+)+$"', repr(pattern)))
    message = f"{path}:5: ParamValidationError: Param 's' of DAG 'tags': Its pattern {pattern!r} is invalid: "
    checked, tested = nbflow("dags", "check", path), nbflow("dags", "test", "tags", "-S", path)
    triggered = nbflow("dags", "trigger", "tags", "-S", path)
    assert checked.out.startswith(message)
    assert tested.err.startswith(f"nbflow: {message}")
    assert (tested.err, tested.code, tested.err.count("\n")) == (triggered.err, 1, 1)
    assert checked.code == triggered.code == 1


@pytest.mark.parametrize(
    ("conf", "code", "message"),
    [
        ('{"rate": NaN}', 1, """nbflow: A run's conf must be JSON: conf["rate"] is nan, which JSON does not have."""),
        ('{"rate": 1e999}', 1, """nbflow: A run's conf must be JSON: conf["rate"] is inf, which JSON does not have."""),
        ('{"rate": ' + "[" * 100_000, 2, "nbflow: --conf is nested too deeply. Write: --conf "),
        ('{"rate": ' + "[" * 200 + "]" * 200 + "}", 1, """nbflow: A run's conf must be JSON: conf["rate"][0][0]"""),
        ('{"rate": ' + "9" * 5000 + "}", 2, "nbflow: --conf is not JSON: Exceeds the limit (4300 digits)"),
        (
            '{"rate": "' + "x" * 1_100_000 + '"}',
            1,
            "nbflow: A run's conf of 1,100,012 bytes is more than",
        ),
    ],
)
def test_the_error_of_an_invalid_conf_is_one_line(nbflow, sales, conf, code, message):
    for command in ("test", "trigger"):
        result = nbflow("dags", command, "sales", "-S", sales, "-c", conf)
        assert result.err.startswith(message)
        assert (result.out, result.code, result.err.count("\n")) == ("", code, 1)


def test_an_argument_that_is_not_utf_8_is_named(nbflow):
    result = nbflow("variables", "set", "caf\udce9", "x")

    assert (result.code, result.err) == (2, "nbflow: Argument 3 is not UTF-8: 'caf\\xe9'. Use a terminal with UTF-8.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("pools", "set", "a\nb", "1"),
        ("variables", "set", "../../x", "1"),
        ("connections", "add", "", "--conn-uri", "http://h"),
    ],
)
def test_a_bad_name_is_refused_in_one_line(nbflow, words):
    result = nbflow(*words)

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert repr(words[2]) in result.err


def test_dags_test_refuses_a_dag_that_two_files_define(nbflow, tmp_path):
    # Given a folder in which two files define the same DAG
    source = "from nbflow import DAG\nwith DAG('same', schedule=None):\n    pass\n"
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("a.py", "b.py"):
        (folder / name).write_text(source)

    # When the folder is passed, and when one of the files is passed
    both = nbflow("dags", "test", "-S", str(folder), "same")
    one = nbflow("dags", "test", "-S", str(folder / "a.py"), "same")

    # Then the folder is refused with both names, and the file is run
    assert (both.code, both.err.count("\n")) == (1, 1)
    assert all(str(folder / name) in both.err for name in ("a.py", "b.py"))
    assert one.code == 0
