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


def test_json_of_a_view_has_its_name_its_schema_version_and_the_ids_of_rows() -> None:
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
    ("value", "message"),
    [
        (datetime(2024, 1, 1), r"2024-01-01T00:00:00, which has no time zone"),
        (object(), r"contains a object, which JSON cannot represent"),
    ],
)
def test_a_view_with_a_value_that_json_cannot_represent_raises(value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        Party(details={"x": value}).to_json()


QUERY = PartyQuery(house="h", limit=3, names=("a", "b"), since=datetime(2024, 1, 1, tzinfo=UTC), secret=True)


def test_a_query_round_trips_through_json_and_is_hashable() -> None:
    assert PartyQuery.from_json(QUERY.to_json()) == QUERY
    assert {QUERY: 1}[PartyQuery.from_json(QUERY.to_json())] == 1
    # And missing members have their defaults
    assert PartyQuery.from_json({"view": "party", "schema": 1, "house": "h"}) == PartyQuery(house="h")


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_query_json_is_validated(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        PartyQuery.from_json(QUERY.to_json() | change)


def test_query_json_without_a_required_member_raises() -> None:
    with pytest.raises(SerializationError, match=r"A query of 'party' is incomplete: .*'house'"):
        PartyQuery.from_json({"view": "party", "schema": 1})
