"""YAML that nbflow prints and exports, and YAML files of users."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nbflow.yaml_files import yaml_text

#: Strings that a YAML 1.1 or 1.2 loader reads as another value, or changes, unless they are quoted.
HARD = (
    "no", "yes", "on", "y", "N", "true", "null", "~", "", "1e3", "1.5e3", "007", "08", "0o17", "0x1f", "0b1", "1_000",
    "12:30:45", "2024-01-02", "2024-01-02T03:04:05Z", ".5", "5.", ".inf", ".NaN", "=", "<<", "- a", "a: b", "a #b",
    "? a", "*a", "&a", "!a", "@a", "`a", "%a", "'a'", '"a"', "[a]", "{a}", " a", "a ", "\ta", "a\n", "\n",
    "a\nb\n\n  c\n",
    "naïve — 東京 🚀", "\x1b[31mred", "a\x00b", "a\x85b", "a\u2028b", "\ufeffa", "a\rb", "\u202eabc", "\\",
    "\\n", "x" * 500,
)  # fmt: skip


@pytest.mark.parametrize("text", HARD)
def test_a_string_round_trips_as_value_and_as_key(text):
    written = yaml_text({text: [text, {"inner": text}]})
    assert yaml.safe_load(written) == {text: [text, {"inner": text}]}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -7,
        10**30,
        0.1,
        1e16,
        1e-7,
        float("inf"),
        [],
        {},
        [[]],
        [{}],
        {"a": {}},
        [[1, [2]], {"b": [None]}],
    ],
)
def test_other_plain_data_round_trips(value):
    assert yaml.safe_load(yaml_text(value)) == value


def test_block_style_quotes_only_ambiguous_strings():
    # Given a row with strings that YAML 1.1 or 1.2 reads as numbers, booleans or times, and one list twice
    tags = ["shop"]
    row = {"dag_id": "sales", "zip": "08", "rate": "1e3", "sure": "y", "at": "2024-01-02", "tags": tags, "more": tags}
    # Then only those are quoted, and the list is written twice, without an anchor
    assert yaml_text([row | {"error": "a\nb", "count": 3, "ratio": 1e16, "end": None}]) == (
        "- dag_id: sales\n"
        "  zip: '08'\n"
        "  rate: '1e3'\n"
        "  sure: 'y'\n"
        "  at: '2024-01-02'\n"
        "  tags:\n"
        "  - shop\n"
        "  more:\n"
        "  - shop\n"
        '  error: "a\\nb"\n'
        "  count: 3\n"
        "  ratio: 1.0e+16\n"
        "  end: null\n"
    )


def test_a_long_string_is_one_line():
    assert yaml_text({"error": "many words " * 100 + "."}).count("\n") == 1


def test_without_unicode_characters_are_escaped():
    assert yaml_text(["naïve 🚀"], unicode=False) == '- "na\\xEFve \\U0001F680"\n'


# -------------------------------------------------------------------------------------------------------- users' files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {conn_type: http}\nb: {conn_type\n", ":3: invalid YAML: expected ',' or '}', but got '<stream end>'"),
        ("a: b: c\n", ":1: invalid YAML: mapping values are not allowed here"),
        ("a:\n  conn_type: http\n   host: x\n", ":3: invalid YAML: mapping values are not allowed here"),
        ("a: http://x\n\tb: y\n", ":2: invalid YAML: found character '\\t' that cannot start any token"),
        ("a: http://x\nb: 'open\n", ":3: invalid YAML: found unexpected end of stream"),
        ("a: http://x\n\x07: y\n", ":2: invalid YAML: special characters are not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", ":1: invalid YAML: could not determine a constructor"),
        ("a: http://x\n---\nb: http://y\n", ":2: invalid YAML: but found another document"),
        ("a: http://x\nb: http://y\na: http://z\n", ":3: invalid YAML: duplicate key 'a'"),
        ("a: {host: x,\n  host: y}\n", ":2: invalid YAML: duplicate key 'host'"),
        ("a: *b\n", ":1: invalid YAML: found undefined alias 'b'"),
        ("a: {[x]: y}\n", ":1: invalid YAML: found unhashable key"),
        ("[" * 5000, ": invalid YAML: nested too deeply"),
        ("- a\n- b\n", " must contain a mapping of connection ids"),
        ("", " must contain a mapping of connection ids"),
        ("a: http://x\n007: http://y\n", ':2: key 007 is not a string. Quote it: "007".'),
        ("no: http://y\n", ':1: key no is not a string. Quote it: "no".'),
        ("a: http://x\nb:\n  conn_typ: http\n", ":2: invalid connection 'b': A connection has no field"),
        ("a: http://x\nb: [1]\n", ":2: invalid connection 'b': expected a string or an object"),
        ("a: {conn_type: http, login: 007}\n", ":1: invalid connection 'a': login must be a string"),
        ("a: &x {conn_type: http, extra: {of: *x}}\n", ":1: invalid connection 'a': "),
        ("a: {conn_type: http, extra: {day: 2024-01-02}}\n", ":1: invalid connection 'a': "),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_line_number(nbflow, tmp_path, text, message):
    # Given a file with a mistake
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    # When it is imported
    result = nbflow("connections", "import", str(path))
    # Then one line names the mistake and its line number, and nothing was imported
    assert result.err.startswith(f"nbflow: {path}{message}")
    assert (result.err.count("\n"), result.out, result.code) == (1, "", 1)
    assert nbflow("connections", "list", "-o", "json").json == []


@pytest.mark.parametrize("name", ["c.yaml", "c.env"])
def test_a_file_that_is_not_utf8_names_the_line(nbflow, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"a=http://x\nb=http://\xe9\n")
    result = nbflow("connections", "import", str(path))
    assert (result.err, result.code) == (f"nbflow: {path}:2: not UTF-8. Save it as UTF-8.\n", 1)


def test_anchors_merges_folded_strings_and_a_byte_order_mark_are_read(nbflow, tmp_path: Path):
    # Given a file with an anchor, a merge, a folded string and a byte order mark
    path = tmp_path / "c.yml"
    path.write_text(
        "\ufeffbase: &base {conn_type: http, host: example.org}\n"
        "more:\n  <<: *base\n  host: other.example\n  password: >-\n    two\n    words\n"
    )
    # When it is imported
    assert nbflow("connections", "import", str(path)).code == 0
    # Then they have their YAML meaning
    rows = nbflow("connections", "list", "--show-values", "-o", "json").json
    assert [(row["conn_id"], row["conn_type"], row["host"], row["password"]) for row in rows] == [
        ("base", "http", "example.org", None),
        ("more", "http", "other.example", "two words"),
    ]
