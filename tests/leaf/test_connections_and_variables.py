"""Connections and variables: providers, masking and refusals, which the facts do not cover."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.connections import Connection
from nbflow.errors import AirflowException, AirflowNotFoundException, ConnectionNotFound, VariableNotFound
from nbflow.secrets_backends import (
    EnvironmentBackend,
    SecretsChain,
    current_provider,
    get_connection,
    install_provider,
    providing,
)
from nbflow.variables import Variable


class DictProvider:
    """A provider that stores values in dicts, like the metastore."""

    def __init__(self, variables: dict[str, str] | None = None, **connections: Connection) -> None:
        self.variables = dict(variables or {})
        self.connections = connections

    def get_connection(self, conn_id: str) -> Connection | None:
        return self.connections.get(conn_id)

    def get_variable(self, key: str) -> str | None:
        return self.variables.get(key)

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self.variables[key] = value

    def delete_variable(self, key: str) -> None:
        self.variables.pop(key, None)


@pytest.fixture(autouse=True)
def _uninstall_provider():
    yield
    install_provider(None)


# --------------------------------------------------------------------------------------------------------- a connection

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(
    st.builds(
        Connection,
        conn_type=_NAMES.filter(lambda name: name != "postgresql"),
        host=_NAMES,
        login=_TEXT,
        password=_TEXT,
        schema=_TEXT,
        port=st.integers(1, 65535),
        extra=st.dictionaries(_TEXT, _TEXT | st.integers() | st.lists(st.booleans()), max_size=3).map(
            lambda d: d or None
        ),
    )
)
def test_a_uri_reads_back(connection):
    assert Connection.from_uri(connection.get_uri(), literal=True).extra_dejson == connection.extra_dejson
    assert _but_extra(Connection.from_uri(connection.get_uri())) == _but_extra(connection)


def _but_extra(connection: Connection) -> tuple[object, ...]:
    return tuple(getattr(connection, name) for name in ("conn_type", "host", "login", "password", "schema", "port"))


def test_a_connection_never_shows_its_secrets():
    connection = Connection(
        "db", "postgres", host="h", login="u", password="hunter22", extra={"token": "t0ken", "ssl": 1}
    )
    shown = (
        "Connection(conn_id='db', conn_type='postgres', host='h', login='u', password='***', "
        "extra={'token': '***', 'ssl': '***'})"
    )
    assert (repr(connection), f"{connection}") == (shown, shown)


def test_the_secrets_of_a_connection():
    connection = Connection(password="hunter22", extra={"token": "t0ken", "region": "eu", "opts": {"api_key": ["k1"]}})
    assert connection.secrets() == ["hunter22", "t0ken", "k1"]


def test_a_connection_can_be_created_from_a_uri():
    assert Connection("db", uri="postgresql://u:p@h:1/s") == Connection(
        "db", "postgres", host="h", login="u", password="p", schema="s", port=1
    )


def test_an_unknown_field_in_json_is_refused_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"no field 'passwrd'\. Did you mean 'password'\?"):
        Connection.from_json('{"conn_type": "http", "passwrd": "x"}')


@pytest.mark.parametrize("uri", ["a://b://c://d", "http://me:secret@https://host"])
def test_a_uri_with_its_parts_in_the_wrong_place_is_refused_without_showing_it(uri):
    with pytest.raises(ValueError, match="URI") as caught:
        Connection.from_uri(uri)
    assert "secret" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------ the environment


def test_nbflows_spelling_wins_over_airflows():
    backend = EnvironmentBackend(
        {
            "NBFLOW_CONN_DB": "http://ours",
            "AIRFLOW_CONN_DB": "http://theirs",
            "NBFLOW_VAR_X": "ours",
            "AIRFLOW_VAR_X": "theirs",
        }
    )
    assert (backend.get_connection("db").host, backend.get_variable("x")) == ("ours", "ours")


def test_an_empty_variable_is_a_value_and_an_empty_connection_is_none():
    backend = EnvironmentBackend({"NBFLOW_CONN_DB": " ", "NBFLOW_VAR_X": ""})
    assert (backend.get_connection("db"), backend.get_variable("x")) == (None, "")


def test_a_broken_connection_names_the_variable_and_not_its_content():
    backend = EnvironmentBackend({"NBFLOW_CONN_DB": '{"password": "hunter22"'})
    with pytest.raises(ConnectionNotFound) as caught:
        backend.get_connection("db")
    assert "NBFLOW_CONN_DB is set" in str(caught.value)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_first_backend_with_a_value_is_used():
    chain = SecretsChain(
        [
            EnvironmentBackend({"NBFLOW_VAR_A": "env"}),
            DictProvider({"a": "stored", "b": "stored"}, db=Connection("db", host="stored")),
        ]
    )
    values = (
        chain.get_variable("a"),
        chain.get_variable("b"),
        chain.get_variable("c"),
        chain.get_connection("db").host,
    )
    assert values == ("env", "stored", None, "stored")


# ------------------------------------------------------------------------------------------------------------ providers


def test_without_a_provider_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("NBFLOW_VAR_GREETING", "hello")
    assert Variable.get("greeting") == "hello"


def test_the_environment_alone_cannot_be_written():
    with pytest.raises(AirflowException, match="only environment variables are available"):
        Variable.set("x", 1)


def test_an_installed_provider_is_used_in_every_thread():
    install_provider(DictProvider({"x": "installed"}))
    values = []
    thread = threading.Thread(target=lambda: values.append(Variable.get("x")))
    thread.start()
    thread.join()
    assert values == ["installed"]


def test_the_provider_of_the_innermost_block_is_used():
    install_provider(DictProvider({"x": "installed"}))
    with providing(DictProvider({"x": "outer"})):
        with providing(DictProvider({"x": "inner"})):
            inner = Variable.get("x")
        outer = Variable.get("x")
    assert (inner, outer, Variable.get("x")) == ("inner", "outer", "installed")


def test_two_runs_in_one_process_do_not_see_each_others_provider():
    # Given two threads that are inside their blocks at the same time
    both_inside, values = threading.Barrier(2), {}

    def run(name: str) -> None:
        with providing(DictProvider({"x": name})):
            both_inside.wait()
            values[name] = Variable.get("x")
            both_inside.wait()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {"a": "a", "b": "b"}


def test_the_error_for_a_missing_connection_says_how_to_add_one():
    with pytest.raises(AirflowNotFoundException, match=r"Set NBFLOW_CONN_MY_DB=type://"):
        get_connection("my_db")


def test_the_error_for_a_missing_variable_says_how_to_set_it():
    with pytest.raises(VariableNotFound, match=r"Variable x does not exist\. Pass a default, set NBFLOW_VAR_X"):
        Variable.get("x")


# ------------------------------------------------------------------------------------------------------------ variables


@pytest.mark.parametrize("spelling", [{"default": 7}, {"default_var": 7}, {"default": 7, "default_var": 8}])
def test_a_default_is_returned_as_it_is(spelling):
    assert Variable.get("x", deserialize_json=True, **spelling) == 7


def test_none_is_a_default():
    assert Variable.get("x", None) is None


def test_variables_are_written_as_text_or_as_json():
    provider = DictProvider()
    with providing(provider):
        Variable.set("n", 5)
        Variable.set("d", {"a": [1]}, serialize_json=True)
        read = (Variable.get("n"), Variable.get("n", deserialize_json=True), Variable.get("d", deserialize_json=True))
        Variable.delete("n")
    assert (read, list(provider.variables)) == (("5", 5, {"a": [1]}), ["d"])


def test_setdefault_stores_only_what_is_missing():
    provider = DictProvider({"old": "1"})
    with providing(provider):
        values = (Variable.setdefault("old", "2"), Variable.setdefault("new", {"a": 1}, deserialize_json=True))
    assert (values, provider.variables["old"]) == (("1", {"a": 1}), "1")
    with pytest.raises(ValueError, match="not None"):
        Variable.setdefault("x", None)


def test_current_provider_returns_the_active_provider():
    provider = DictProvider()
    with providing(provider):
        assert current_provider() is provider
    assert isinstance(current_provider(), SecretsChain)


def test_a_port_of_zero_is_left_out_of_the_uri():
    assert Connection(conn_type="generic", host="h", port=0).get_uri() == "generic://h"
