"""The parser: positional arguments and options, its errors, and arguments passed from code."""

from __future__ import annotations

import pytest

from nbflow.command_arguments import (
    CRON,
    DATE,
    INTEGER,
    JSON,
    NOTEBOOK,
    PAIR,
    TERMINAL,
    TYPES,
    WHOLE,
    HelpRequested,
    Parser,
    UsageError,
    argument,
    split_line,
    switch,
    values_of,
)  # fmt: skip

ARGUMENTS = (
    argument("dag_id"),
    argument("run", "--run", required=False),
    argument("-n", "--number", type=WHOLE, default=5),
    argument("-c", "--conf", type=JSON),
    argument("-p", "--param", type=PAIR, repeated=True),
    argument("--wait", type=INTEGER, const=0),
    argument("--cron", type=CRON, example='"0 6 * * *"'),
    switch("-f", "--force", help=""),
    argument("--form", choices=("json", "yaml")),
)
DEFAULTS = {
    "dag_id": None, "run": None, "number": 5, "conf": None, "param": [], "wait": None, "cron": None, "force": False,
    "form": None,
}  # fmt: skip


def parsed(*words: str, texts=TERMINAL, arguments=ARGUMENTS):
    return vars(Parser("nbflow do", arguments, texts=texts).parse(words))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("sales", {"dag_id": "sales"}),
        ("sales r1 -n 3", {"dag_id": "sales", "run": "r1", "number": 3}),
        ("-f sales --run=r1", {"dag_id": "sales", "run": "r1", "force": True}),
        ("--wait -f sales", {"dag_id": "sales", "wait": 0, "force": True}),
        ("sales --wait 3 r1", {"dag_id": "sales", "wait": 3, "run": "r1"}),
        ("sales -p a=1 -p b=x", {"dag_id": "sales", "param": [{"a": 1}, {"b": "x"}]}),
        ('sales -c {"a":1}', {"dag_id": "sales", "conf": {"a": 1}}),
        ("sales -- -n", {"dag_id": "sales", "run": "-n"}),
        ("sales -3", {"dag_id": "sales", "run": "-3"}),
        ("sales -", {"dag_id": "sales", "run": "-"}),
    ],
)
def test_options_may_stand_anywhere_between_positional_arguments(line, values):
    assert parsed(*line.split()) == {**DEFAULTS, **values}


def test_an_argument_passed_as_an_option_leaves_its_position_to_the_next():
    # Given two positional arguments that have flags too
    arguments = (argument("dag_id", "-d", "--dag-id"), argument("start", "--from", type=DATE))
    # Then each may be passed either way
    for line in ("sales 2024-01-01", "-d sales 2024-01-01", "--from 2024-01-01 sales", "--from 2024-01-01 -d sales"):
        assert parsed(*line.split(), arguments=arguments) == {"dag_id": "sales", "start": "2024-01-01"}


def test_a_repeated_positional_argument_takes_the_remaining_words():
    arguments = (argument("dag_id"), argument("tasks", repeated=True))
    assert parsed("sales", arguments=arguments) == {"dag_id": "sales", "tasks": []}
    assert parsed("sales", "a", "b", arguments=arguments) == {"dag_id": "sales", "tasks": ["a", "b"]}


@pytest.mark.parametrize(
    ("line", "terminal", "notebook"),
    [
        (
            "sales --nmber 3",
            "nbflow do: unknown option --nmber. Did you mean '--number'?",
            "nbflow do: unknown option --nmber. Did you mean '--number'?",
        ),
        (
            "a b c",
            "nbflow do: unexpected argument 'c'. Usage: nbflow do [-h]",
            "nbflow do: unexpected argument 'c'. Help: nbflow do?",
        ),
        ("-f", "nbflow do: the following arguments are required: dag_id. Usage: nbflow do [-h]", None),
        ("sales -n 0", "nbflow do: argument -n/--number: expected a positive integer, not '0'. Usage:", None),
        (
            "sales -n",
            "nbflow do: argument -n/--number: expected one argument.",
            "nbflow do: argument --number: expected one argument. Help: nbflow do?",
        ),
        ("sales --force=yes", "nbflow do: --force takes no value. Write --force alone.", None),
        ("sales --form xml", "nbflow do: argument --form: invalid choice: 'xml' (choose from 'json', 'yaml').", None),
        ("sales -c no", "--conf is not JSON: Expecting value", None),
        ("sales -p rows", "'rows' is not NAME=VALUE. Write: -p rows=10", None),
        ("a b --cron 0 6", "nbflow do: unexpected argument '6'. Quote a cron expression: --cron \"0 6\".", None),
        ("sales --cron", "nbflow do: argument --cron: expected one argument. For example: --cron \"0 6 * * *\"", None),
    ],
)  # fmt: skip
def test_an_error_has_the_text_of_the_surface_and_a_hint(line, terminal, notebook):
    for texts, message in ((TERMINAL, terminal), (NOTEBOOK, notebook)):
        if message is None:
            continue
        with pytest.raises(UsageError) as caught:
            parsed(*line.split(), texts=texts)
        assert str(caught.value).startswith(message)


def test_an_option_that_is_absent_on_purpose_gives_the_reason():
    parser = Parser("nbflow do", ARGUMENTS, texts=TERMINAL, unavailable=lambda option: f"{option} was left out.")
    with pytest.raises(UsageError, match=r"^--pool was left out\.$"):
        parser.parse(["sales", "--pool", "x"])


@pytest.mark.parametrize("line", ["-h", "sales --help", "-h --nonsense"])
def test_help_is_raised_and_lists_all_arguments(line):
    with pytest.raises(HelpRequested) as requested:
        parsed(*line.split())
    assert all(argument.shown.split("/")[0] in str(requested.value) for argument in ARGUMENTS)


def test_options_in_returns_the_options_in_their_order():
    parser = Parser("nbflow do", ARGUMENTS, texts=TERMINAL)
    assert parser.options_in(["--run", "r", "sales", "-f", "-n", "5"]) == ("--run", "--force", "--number")


def test_a_quote_that_is_not_closed_is_an_error():
    with pytest.raises(UsageError, match=r"^%dag list 'x: no closing quotation\. Close the quote\.$"):
        split_line("%dag", "list 'x", NOTEBOOK)


def test_code_passes_arguments_by_name():
    assert vars(values_of(ARGUMENTS, {"dag_id": "sales", "force": True})) == {
        **DEFAULTS, "dag_id": "sales", "force": True
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"Unknown argument 'forse'\. Did you mean 'force'\?"):
        values_of(ARGUMENTS, {"dag_id": "sales", "forse": True})
    with pytest.raises(UsageError, match=r"Missing arguments: dag_id\."):
        values_of(ARGUMENTS, {})


def test_every_type_has_a_schema():
    assert {type.name: type.schema["type"] for type in TYPES.values() if "type" not in type.schema} == {}
