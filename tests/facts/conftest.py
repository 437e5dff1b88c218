"""Checks nbflow against the observed behaviour of Airflow.

A *table* is a JSON file of cases (inputs and the observed ``expected``), in the folder that ``NBFLOW_FACTS`` names
(absolute, or relative to the current directory; default ``tests/facts/data``). To run other cases of the same format:
``NBFLOW_FACTS=DIR pytest tests/facts``. The test of a table is one function, called once per case::

    @pytest.mark.facts("run_ids")
    def test_run_ids(case, check):
        check(lambda: make_run_id(case["run_type"], parse(case["logical_date"])))

* ``case`` is the case (a dict); the test's id is the case's id.
* ``check(call)`` compares the whole result of ``call()`` with ``case["expected"]``, and an exception with
  ``{"raises": name}``: the name may be that of any class in the exception's MRO. ``check(call, want=...)`` compares
  with ``want``, for tables whose ``expected`` must be translated first: ``check.expected`` is the fact.
* ``table`` is the whole file, for the values in its head.
* A case that the test cannot rebuild ends with ``pytest.skip(reason)``: it counts as not run, never as passed.
* For intended differences, ``deviations.py`` holds the kind of case, the reason, and, where possible, nbflow's result,
  which is then checked. Such cases are counted separately, never as passed.

At the end one line per table is printed: ``facts: N of M cases (table)``, N passed, M in the file, then the other
outcomes.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .deviations import Deviation, deviation_for

_DEFAULT_FOLDER = Path(__file__).with_name("data")
_UNSET: Any = object()


@cache
def facts_folder() -> Path:
    """The folder of the tables. A missing folder is an error, not an empty set of facts."""
    folder = Path(os.environ.get("NBFLOW_FACTS") or _DEFAULT_FOLDER).resolve()
    if not folder.is_dir():
        raise pytest.UsageError(f"NBFLOW_FACTS: there is no folder {folder}")
    return folder


@cache
def load_table(name: str) -> dict[str, Any] | None:
    """The content of a table's file, or None if there is none."""
    path = facts_folder() / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class Check:
    """Compares nbflow's result with the fact (or with the deviation that replaces it)."""

    def __init__(self, case: dict[str, Any], deviation: Deviation | None) -> None:
        self.expected: Any = case.get("expected")
        if deviation is not None and deviation.instead is not None:
            self.expected = deviation.instead(case)

    def __call__(self, call: Callable[[], Any], *, want: Any = _UNSET) -> None:
        want = self.expected if want is _UNSET else want
        error_name = want.get("raises") if isinstance(want, dict) else None
        if error_name is None:
            assert call() == want
            return
        try:
            result = call()
        except Exception as error:
            names = [cls.__name__ for cls in type(error).__mro__]
            if error_name not in names:
                raise AssertionError(f"Airflow raises {error_name}, nbflow raised {names[0]}: {error}") from error
        else:
            raise AssertionError(f"Airflow raises {error_name}, nbflow returned {result!r}")


@pytest.fixture
def check(case: dict[str, Any], request: pytest.FixtureRequest) -> Check:
    """The comparison with the fact; see the head of this module."""
    return Check(case, deviation_for(_table_of(request.node), case))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The whole table of the case, for the values in its head."""
    loaded = load_table(_table_of(request.node))
    assert loaded is not None
    return loaded


def _table_of(node: Any) -> str:
    return str(node.get_closest_marker("facts").args[0])


# ----------------------------------------------------------------------------------------------------------- collection


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "facts(table): called once for every case of a table of facts")
    config.pluginmanager.register(FactsReport(config), "facts-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("facts")
    if marker is not None:
        metafunc.parametrize("case", list(_parameters(marker.args[0])))


def _parameters(name: str) -> Iterator[Any]:
    loaded = load_table(name)
    if loaded is None:
        reason = f"table {name} is not in {facts_folder()}"
        yield pytest.param(None, id="missing", marks=pytest.mark.skip(reason=reason))
        return
    for case in loaded["cases"]:
        deviation = deviation_for(name, case)
        unchecked = deviation is not None and deviation.instead is None
        marks = [pytest.mark.skip(reason=f"deviation: {deviation.kind}")] if deviation and unchecked else []
        yield pytest.param(case, id=str(case["id"]), marks=marks)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # user_properties are part of the reports, so that the count is right under pytest-xdist too.
    for item in items:
        marker = item.get_closest_marker("facts")
        callspec = getattr(item, "callspec", None)
        if marker is None or callspec is None or callspec.params.get("case") is None:
            continue
        deviation = deviation_for(marker.args[0], callspec.params["case"])
        item.user_properties.append(("facts", f"{marker.args[0]}|{deviation.kind if deviation else ''}"))


# --------------------------------------------------------------------------------------------------------------- report


class FactsReport:
    """Counts the outcomes of each table and prints them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.outcomes: dict[str, tuple[str, str]] = {}
        """node id -> table and outcome; a failure replaces any other outcome."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        label = dict(report.user_properties).get("facts")
        if label is None:
            return
        name, _, kind = str(label).partition("|")
        if report.failed:
            self.outcomes[report.nodeid] = (name, "failed")
        elif report.nodeid not in self.outcomes:
            if kind and (report.skipped or report.when == "call"):
                self.outcomes[report.nodeid] = (name, f"deviation: {kind}")
            elif report.skipped:
                self.outcomes[report.nodeid] = (name, f"not run: {_reason(report)}")
            elif report.when == "call":
                self.outcomes[report.nodeid] = (name, "passed")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name, outcome in self.outcomes.values():
            self.counts[name][outcome] += 1
        for name in sorted(self.counts):
            for line in self._lines(name, self.counts[name]):
                terminalreporter.write_line(line)
        if self.counts and any(Path(arg).resolve() == Path(__file__).parent for arg in self.config.args):
            for path in sorted(facts_folder().glob("*.json")):
                if path.stem not in self.counts:
                    total = len((load_table(path.stem) or {}).get("cases", []))
                    terminalreporter.write_line(f"facts: 0 of {total} cases ({path.stem}), no test runs this table")

    def _lines(self, name: str, outcomes: Counter[str]) -> Iterator[str]:
        total = len((load_table(name) or {}).get("cases", []))
        yield f"facts: {outcomes['passed']} of {total} cases ({name})"
        not_selected = total - sum(outcomes.values())
        if not_selected:
            yield f"  {not_selected} not run: not selected"
        for outcome, count in sorted(outcomes.items()):
            if outcome != "passed":
                yield f"  {count} {outcome}"


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
    return reason.removeprefix("Skipped: ")
