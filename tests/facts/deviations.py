"""Intended differences from the observed behaviour of Airflow: the kind of case, and the reason.

A deviation is a rule on the fields of a case, never a list of ids, so that it applies to new cases too. ``instead``
computes nbflow's result, which is then checked; without it the case is not run. Deviations are counted separately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nbflow.authoring.context import OLD_NAMES
from nbflow.authoring.dag import OLD as OLD_DAG
from nbflow.authoring.task_arguments import OLD as OLD_TASK
from nbflow.cli.unavailable import ABSENT, option_reason
from nbflow.core.trigger_rules import OLD_NAMES as OLD_RULES

Case = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A kind of case in which nbflow behaves differently."""

    table: str
    kind: str
    """A short name, printed with the count."""
    reason: str
    applies: Callable[[Case], bool]
    instead: Callable[[Case], Any] | None = None
    """case -> nbflow's result; None: the case is not run."""


def _empty_and_later(case: Case) -> bool:
    """A cron schedule's interval that is empty and lies after the trigger (EventsTimetable may use the next event)."""
    interval = case["expected"]
    if not isinstance(case["schedule"], str) or not isinstance(interval, dict) or "data_interval_end" not in interval:
        return False
    start, end = (datetime.fromisoformat(interval[f"data_interval_{name}"]) for name in ("start", "end"))
    return start == end > datetime.fromisoformat(case["run_after"])


_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


def _skip_not_final(case: Case) -> bool:
    """all_success with a skipped upstream, nothing failed yet, and something unfinished."""
    upstream = set(case["upstream"])
    return (
        case["trigger_rule"] == "all_success"
        and "skipped" in upstream
        and not upstream & {"failed", "upstream_failed"}
        and not upstream <= _ENDED
    )


def _only_teardowns_unfinished(case: Case) -> bool:
    unfinished = {task_id for task_id, state in case["task_states"].items() if state not in _ENDED}
    return bool(unfinished) and unfinished <= set(case["teardowns"]) and not case["on_failure_fail_dagrun"]


def _running_teardown_of_failed_setups(case: Case) -> bool:
    states, setups = case["task_states"], case["setups"]
    unfinished = {task_id for task_id, state in states.items() if state not in _ENDED}
    ended = {states[setup] for setup in setups} <= _ENDED - {"success"}
    return bool(setups) and ended and bool(unfinished) and unfinished <= set(case["teardowns"])


def _names(case: Case, words: Iterable[str]) -> bool:
    """Whether the case's template holds one of the words."""
    return re.search(rf"\b({'|'.join(words)})\b", str(case["template"])) is not None


def _uses_a_name_of_airflow_2(case: Case) -> bool:
    """A definition that 2.x accepts and 3.x refuses only for a name: an argument, or a trigger rule."""
    expected = case["expected"]
    if "raises" not in expected or case.get("expected_2x") != {"ok": True}:
        return False
    task_kwargs = case["input"].get("task_kwargs", {})
    quoted = re.findall(r"argument '(\w+)'", expected.get("gist", ""))
    old = {"sla"} | OLD_TASK.keys() | OLD_DAG.keys()
    return task_kwargs.get("trigger_rule") in OLD_RULES or bool(old.intersection([*task_kwargs, *quoted]))


def _runs_as_another_user(case: Case) -> bool:
    return case["input"].get("task_kwargs", {}).get("run_as_user") is not None


def _absent_command(case: Case) -> bool:
    return " ".join(case["command"]) in ABSENT or (case["command"] or [""])[0] in ABSENT


def _absent_flags(case: Case) -> set[str]:
    command = " ".join(case["command"])
    flags = [argument["flags"] for argument in case["arguments"] if "flags" in argument]
    return {flag for names in flags for flag in names if option_reason(command, names[-1]) is not None}


def _cli(table: str) -> tuple[Deviation, ...]:
    return (
        Deviation(
            table=table,
            kind="commands that this release does not have",
            reason="Each prints one line that says so and what to do instead (nbflow.cli.unavailable).",
            applies=_absent_command,
            instead=lambda case: {"refused": True},
        ),
        Deviation(
            table=table,
            kind="options that nbflow does not need",
            reason="Each prints one line with the reason (nbflow.cli.unavailable); all other options are accepted.",
            applies=lambda case: bool(_absent_flags(case)),
            instead=lambda case: {
                "flags": [
                    flag
                    for argument in case["arguments"]
                    for flag in argument.get("flags", ())
                    if flag not in _absent_flags(case)
                ]
            },
        ),
    )


deviations: tuple[Deviation, ...] = (
    *_cli("cli_3x"),
    *_cli("cli_2x"),
    Deviation(
        table="validation",
        kind="a name of Airflow 2 in a definition",
        reason="Arguments and trigger rules that only Airflow 2 has work as in Airflow 2, with a warning that gives "
        "the current name.",
        applies=_uses_a_name_of_airflow_2,
        instead=lambda case: {"ok": True},
    ),
    Deviation(
        table="validation",
        kind="@continuous alone",
        reason="Airflow's default of max_active_runs (16) contradicts @continuous, so it must be set to 1. If it is "
        "not set, nbflow uses 1.",
        applies=lambda case: case["input"].get("schedule") == "@continuous" and "raises" in case["expected"],
        instead=lambda case: {"ok": True},
    ),
    Deviation(
        table="validation",
        kind="run_as_user",
        reason="nbflow runs every task as the user of its scheduler, so the argument is refused instead of ignored.",
        applies=_runs_as_another_user,
        instead=lambda case: {"raises": "InvalidDag"},
    ),
    Deviation(
        table="macros",
        kind="a name of Airflow 2",
        reason="Names that only Airflow 2 has (execution_date, next_ds, conf ...) work as in Airflow 2, with a "
        "warning.",
        applies=lambda case: not case.get("same_in_2x", True) and _names(case, OLD_NAMES),
        instead=lambda case: case["expected_2x"],
    ),
    Deviation(
        table="macros",
        kind="None that is not None",
        reason="In Airflow 3 prev_..._success is a proxy, which never `is none`, even if it prints as None. In nbflow "
        "it is None, as in Airflow 2.",
        applies=lambda case: (
            not case.get("same_in_2x", True)
            and "is none" in str(case["template"])
            and _names(case, [r"prev_\w+_success"])
        ),
        instead=lambda case: case["expected_2x"],
    ),
    Deviation(
        table="macros",
        kind="conf of an earlier run",
        reason="If one process runs several runs of a DAG, Airflow writes a run's conf into the DAG's params, and "
        "later runs read it (c06 has x=9, c07 has no conf). In nbflow a run sees only its own conf.",
        applies=lambda case: case["context"] == "c07" and _names(case, ["params"]) and _names(case, ["x"]),
    ),
    Deviation(
        table="trigger_rules_real_runs",
        kind="all_success waits with a skipped upstream",
        reason="The same in a whole run: Airflow skips as soon as one upstream task is skipped, before the other has "
        "failed. nbflow waits for both, and a failure decides.",
        applies=lambda case: (
            case["trigger_rule"] == "all_success"
            and "skipped" in case["upstream"]
            and bool({"failed", "upstream_failed"} & set(case["upstream"]))
        ),
        instead=lambda case: "upstream_failed",
    ),
    Deviation(
        table="run_state",
        kind="a running teardown keeps running",
        reason="Airflow's end-of-run check applies the trigger rule to a teardown that is already running, and, if no "
        "setup succeeded, overwrites the state of the running task. nbflow's rules decide only tasks that have not "
        "started; the run ends after the teardown.",
        applies=lambda case: case["on_failure_fail_dagrun"] and _running_teardown_of_failed_setups(case),
        instead=lambda case: "running",
    ),
    Deviation(
        table="run_state",
        kind="a run waits for its teardowns",
        reason="Airflow ends a run while a teardown without on_failure_fail_dagrun still runs. In nbflow a finished "
        "run has no unfinished task, so the end of a run means that its resources are released.",
        applies=_only_teardowns_unfinished,
        instead=lambda case: "running",
    ),
    Deviation(
        table="trigger_rules",
        kind="all_success waits with a skipped upstream",
        reason="Airflow skips at once, so the result for {skipped, failed} depends on the order of arrival: skipped or "
        "upstream_failed. nbflow waits until no unfinished task can change the result.",
        applies=_skip_not_final,
        instead=lambda case: "wait",
    ),
    Deviation(
        table="timetables",
        kind="DST anomaly of Airflow",
        reason="Around a DST change Airflow's data intervals leave a gap, or the schedule stops with an internal error "
        "(the table marks both). nbflow's intervals stay contiguous and the schedule continues.",
        applies=lambda case: bool(case.get("anomaly")),
    ),
    Deviation(
        table="manual_intervals",
        kind="empty interval in the future",
        reason="For a run triggered within the hour that a DST change skips, Airflow treats the fire time that was "
        "moved after the gap as past, and returns an empty interval after the trigger. nbflow returns the last "
        "complete interval.",
        applies=_empty_and_later,
    ),
)


def deviation_for(table: str, case: Case) -> Deviation | None:
    """The first deviation that applies to the case, or None."""
    return next((rule for rule in deviations if rule.table == table and rule.applies(case)), None)
