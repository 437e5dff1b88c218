"""Checks nbflow against what the real Airflow was seen to do.

A *table* is a JSON file of cases (inputs and the observed ``expected``), in the folder that ``NBFLOW_FACTS`` names
(absolute, or relative to the current directory; default ``tests/facts/data``). Other cases of the same format are run
unchanged: ``NBFLOW_FACTS=DIR pytest tests/facts``. A table's test is one function, called once a case::

    @pytest.mark.facts("run_ids")
    def test_run_ids(case, check):
        check(lambda: make_run_id(case["run_type"], parse(case["logical_date"])))

* ``case`` is the case (a dict), the test's id is the case's id.
* ``check(call)`` compares the whole result of ``call()`` with ``case["expected"]``, and an exception with
  ``{"raises": name}``: the name may be that of any class in the exception's MRO. ``check(call, want=...)`` compares
  with something else, for tables whose ``expected`` has to be translated first: ``check.expected`` is the fact.
* ``table`` is the whole file, for what stands in its head.
* A case that the test cannot rebuild ends with ``pytest.skip(why)``: it counts as not run, never as passed.
* Where nbflow differs on purpose, ``deviations.py`` says for which kind of case, why, and (where it can be said) what
  nbflow answers instead, which is then checked. Such cases are counted apart, never as passed.

At the end one line a table is printed: ``facts: N of M cases (table)``, N passed, M in the file, then what is not in N.
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
    """The folder of the tables. A folder that is named but not there is a mistake, not an empty set of facts."""
    folder = Path(os.environ.get("NBFLOW_FACTS") or _DEFAULT_FOLDER).resolve()
    if not folder.is_dir():
        raise pytest.UsageError(f"NBFLOW_FACTS: there is no folder {folder}")
    return folder


@cache
def load_table(name: str) -> dict[str, Any] | None:
    """A table as stored, or None when the folder does not hold it."""
    path = facts_folder() / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class Check:
    """Compares what nbflow does with the fact (or with the deviation that stands in for it)."""

    def __init__(self, case: dict[str, Any], deviation: Deviation | None) -> None:
        self.expected: Any = case.get("expected")
        if deviation is not None and deviation.instead is not None:
            self.expected = deviation.instead(case)

    def __call__(self, call: Callable[[], Any], *, want: Any = _UNSET) -> None:
        want = self.expected if want is _UNSET else want
        refusal = want.get("raises") if isinstance(want, dict) else None
        if refusal is None:
            assert call() == want
            return
        try:
            result = call()
        except Exception as error:
            names = [cls.__name__ for cls in type(error).__mro__]
            if refusal not in names:
                raise AssertionError(f"Airflow raises {refusal}, nbflow raised {names[0]}: {error}") from error
        else:
            raise AssertionError(f"Airflow raises {refusal}, nbflow returned {result!r}")


@pytest.fixture
def check(case: dict[str, Any], request: pytest.FixtureRequest) -> Check:
    """The comparison with the fact; see the head of this module."""
    return Check(case, deviation_for(_table_of(request.node), case))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The whole table of the case, for what stands in its head."""
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
    # user_properties travel with the reports, so that the count is right under pytest-xdist too.
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
        self.seen: dict[str, Counter[str]] = defaultdict(Counter)
        self.worst: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        label = dict(report.user_properties).get("facts")
        if label is None:
            return
        name, _, kind = str(label).partition("|")
        if report.failed:
            self.worst[report.nodeid] = (name, "failed")
        elif report.nodeid not in self.worst:
            if kind and (report.skipped or report.when == "call"):
                self.worst[report.nodeid] = (name, f"deviation: {kind}")
            elif report.skipped:
                self.worst[report.nodeid] = (name, f"not run: {_reason(report)}")
            elif report.when == "call":
                self.worst[report.nodeid] = (name, "passed")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name, outcome in self.worst.values():
            self.seen[name][outcome] += 1
        for name in sorted(self.seen):
            for line in self._lines(name, self.seen[name]):
                terminalreporter.write_line(line)
        if self.seen and any(Path(arg).resolve() == Path(__file__).parent for arg in self.config.args):
            for path in sorted(facts_folder().glob("*.json")):
                if path.stem not in self.seen:
                    total = len((load_table(path.stem) or {}).get("cases", []))
                    terminalreporter.write_line(f"facts: 0 of {total} cases ({path.stem}), no test runs this table")

    def _lines(self, name: str, outcomes: Counter[str]) -> Iterator[str]:
        total = len((load_table(name) or {}).get("cases", []))
        yield f"facts: {outcomes['passed']} of {total} cases ({name})"
        left_out = total - sum(outcomes.values())
        if left_out:
            yield f"  {left_out} not run: not selected"
        for outcome, count in sorted(outcomes.items()):
            if outcome != "passed":
                yield f"  {count} {outcome}"


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
    return reason.removeprefix("Skipped: ")
