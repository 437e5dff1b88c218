"""Views and queries as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from nbflow.core.states import TaskState
from nbflow.errors import SerializationError
from nbflow.views.base import Query, Row, View

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person(Row):
    name: str
    born: datetime | None = None

    @property
    def id(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Party(View):
    NAME: ClassVar[str] = "party"
    SCHEMA: ClassVar[int] = 3

    guests: tuple[Person, ...] = ()
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyQuery(Query[Party]):
    NAME: ClassVar[str] = "party"

    house: str
    limit: int = 20
    names: tuple[str, ...] = ()
    since: datetime | None = None
    secret: bool = False


def test_a_view_says_its_name_and_version_and_its_rows_their_ids() -> None:
    view = Party(
        guests=(Person(name="Ada", born=datetime(2024, 7, 1, 12, 30, tzinfo=BERLIN)), Person(name="Grace")),
        details={"state": TaskState.SUCCESS, "took": timedelta(minutes=2), "rates": (0.5, float("nan")), 1: {"b", "a"}},
    )

    assert view.to_json() == {
        "view": "party",
        "schema": 3,
        "guests": [
            {"id": "ada", "name": "Ada", "born": "2024-07-01T12:30:00.000000+02:00"},
            {"id": "grace", "name": "Grace", "born": None},
        ],
        "details": {"state": "success", "took": 120.0, "rates": [0.5, "nan"], "1": ["a", "b"]},
    }


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (datetime(2024, 1, 1), r"2024-01-01T00:00:00, which has no time zone"),
        (object(), r"holds a object, which has no form in JSON"),
    ],
)
def test_what_has_no_form_in_json_is_refused(value: Any, fault: str) -> None:
    with pytest.raises(SerializationError, match=fault):
        Party(details={"x": value}).to_json()


QUERY = PartyQuery(house="h", limit=3, names=("a", "b"), since=datetime(2024, 1, 1, tzinfo=UTC), secret=True)


def test_a_query_comes_back_from_its_json_and_serves_as_a_key() -> None:
    assert PartyQuery.from_json(QUERY.to_json()) == QUERY
    assert {QUERY: 1}[PartyQuery.from_json(QUERY.to_json())] == 1
    # And what is not said has its default
    assert PartyQuery.from_json({"view": "party", "schema": 1, "house": "h"}) == PartyQuery(house="h")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"view": "grid"}, r"query is for the view 'grid' \(version 1\), not for 'party' \(version 1\)"),
        ({"schema": 2}, r"is for the view 'party' \(version 2\)"),
        ({"address": "http://example.org"}, r"A query of 'party' has no 'address'"),
        ({"house": None}, r"party\.house of a query must be a str, not 'None'"),
        ({"house": "h" * 1_001}, r"party\.house of a query must be a str"),
        ({"limit": True}, r"party\.limit of a query must be a int, not 'True'"),
        ({"limit": "3"}, r"party\.limit"),
        ({"names": "ab"}, r"party\.names"),
        ({"names": ["a", 1]}, r"party\.names\[1\] of a query must be a str, not '1'"),
        ({"since": "2024-01-01"}, r"party\.since of a query must be a datetime, not '2024-01-01'"),
        ({"since": "yesterday"}, r"party\.since"),
        ({"secret": 1}, r"party\.secret"),
    ],
)
def test_a_query_from_a_file_is_checked(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(SerializationError, match=fault):
        PartyQuery.from_json(QUERY.to_json() | change)


def test_a_query_that_lacks_what_it_needs_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"A query of 'party' is incomplete: .*'house'"):
        PartyQuery.from_json({"view": "party", "schema": 1})
