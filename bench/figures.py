"""Figures, and how they are printed, kept and compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity."""

    row: str
    """Name of the module that measured it."""
    what: str
    store: str = ""
    """sqlite or postgres, where one is in play."""
    unit: str
    samples: tuple[float, ...]
    """One a run."""
    more_is_better: bool = False
    target: float | None = None
    """At most this, or at least this where more is better."""
    floor: tuple[float, ...] = ()
    """The floor's samples, in the same unit, measured between the runs."""
    floor_is: str = ""
    most_floors: float | None = None
    """At most so many times the floor."""

    @property
    def name(self) -> tuple[str, str, str]:
        return (self.row, self.what, self.store)

    @property
    def middle(self) -> float:
        return median(self.samples)

    @property
    def floors(self) -> float | None:
        """How many times the floor it takes; 1 is the floor itself."""
        if not self.floor:
            return None
        floor = median(self.floor)
        return _ratio(floor, self.middle) if self.more_is_better else _ratio(self.middle, floor)

    @property
    def short_by(self) -> float | None:
        """How many times too slow it is for its target; up to 1: reached."""
        if self.target is None:
            return None
        return _ratio(self.target, self.middle) if self.more_is_better else _ratio(self.middle, self.target)

    @property
    def reached(self) -> bool | None:
        """Whether everything that it was to reach is reached; None if nothing was named."""
        known = [part for part in (self.short_by, self._short_of_floor) if part is not None]
        return all(part <= 1.0 for part in known) if known else None

    @property
    def _short_of_floor(self) -> float | None:
        if self.floors is None or self.most_floors is None:
            return None
        return self.floors / self.most_floors

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "median": self.middle,
            "floors": self.floors,
            "short_by": self.short_by,
            "reached": self.reached,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Figure:
        names = cls.__dataclass_fields__
        values = {name: value for name, value in said.items() if name in names}
        return cls(**{**values, "samples": tuple(said["samples"]), "floor": tuple(said["floor"])})


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("inf")


NOTE = (
    "Medians; in brackets the least and the most. Machines are noisy: compare ratios to the floor within one run, "
    "not times of different runs."
)
HEADINGS = ("row", "what", "store", "median", "floor", "x floor", "to reach", "reached")


def table(figures: Sequence[Figure], before: Mapping[tuple[str, str, str], Figure] | None = None) -> str:
    """The figures as an aligned table; ``before``: those of an earlier run, for a last column."""
    rows = [list(HEADINGS) + (["before"] if before is not None else [])]
    for one in figures:
        cells = [one.row, one.what, one.store, _spread(one), _floor(one), _times(one.floors), _goal(one), _verdict(one)]
        if before is not None:
            cells.append(_against(one, before.get(one.name)))
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    floors = dict.fromkeys(f"Floor of {one.row}: {one.floor_is}." for one in figures if one.floor_is)
    return "\n".join([*lines, "", *floors, NOTE])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(one: Figure) -> str:
    least, most = min(one.samples), max(one.samples)
    return f"{_number(one.middle)} {one.unit} [{_number(least)}-{_number(most)}]"


def _floor(one: Figure) -> str:
    return f"{_number(median(one.floor))}" if one.floor else ""


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _goal(one: Figure) -> str:
    parts = []
    if one.target is not None:
        parts.append(f"{'>=' if one.more_is_better else '<='} {_number(one.target)}")
    if one.most_floors is not None:
        parts.append(f"<= {one.most_floors:g} floors")
    return ", ".join(parts)


def _verdict(one: Figure) -> str:
    if one.reached is None:
        return ""
    if one.reached:
        return "yes"
    return f"short by {max(part for part in (one.short_by, one._short_of_floor) if part is not None):.2f}x"


def _against(one: Figure, earlier: Figure | None) -> str:
    if earlier is None:
        return "new"
    change = _ratio(one.middle, earlier.middle)
    text = f"{_number(earlier.middle)} ({change:.2f}x)"
    if one.floors is not None and earlier.floors is not None:
        text += f", floors {earlier.floors:.2f}"
    return text


def report(machine: Mapping[str, str], figures: Sequence[Figure], options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known of one run, as JSON."""
    return {"machine": dict(machine), "options": dict(options), "figures": [one.as_json() for one in figures]}


def save(path: Path, said: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> dict[tuple[str, str, str], Figure]:
    """The figures of a saved report, by name."""
    figures: Iterable[Figure] = map(Figure.from_json, json.loads(path.read_text(encoding="utf-8"))["figures"])
    return {one.name: one for one in figures}
