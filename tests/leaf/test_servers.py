"""The servers that other tests use."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.servers import require


def test_a_missing_server_skips_the_test_and_says_why(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a browser: it is not installed"):
        require("a browser", "it is not installed")


def test_in_ci_a_missing_server_fails_the_test(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs a browser: it is not installed"):
        require("a browser", "it is not installed")


@pytest.mark.postgres
def test_each_database_is_new_and_separate(new_postgres_url):
    # Given two databases of one test
    first, second = (sa.create_engine(new_postgres_url()) for _ in range(2))
    # When the first gets a table
    with first.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n int)"))
    # Then the second does not have it
    assert (sa.inspect(first).get_table_names(), sa.inspect(second).get_table_names()) == (["t"], [])
    first.dispose(), second.dispose()


@pytest.mark.postgres
def test_a_private_server_can_be_started(private_postgres):
    name = private_postgres.create_database()
    engine = sa.create_engine(private_postgres.url(name))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT current_database()")) == name
    engine.dispose()
    private_postgres.drop_database(name)
