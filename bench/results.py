"""Figures: measured quantities, and how they are printed, saved and compared."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity. The field names are keys of saved reports."""

    row: str
    """Name of the module that measured it."""
    what: str
    store: str = ""
    """sqlite or postgres, if a metastore is measured."""
    unit: str
    samples: tuple[float, ...]
    """One for each run."""
    more_is_better: bool = False
    target: float | None = None
    """The maximum; the minimum if more is better."""
    floor: tuple[float, ...] = ()
    """The samples of the floor, in the same unit, measured between the runs."""
    floor_is: str = ""
    """What the floor measures."""
    most_floors: float | None = None
    """Maximum ratio to the floor."""

    @property
    def name(self) -> tuple[str, str, str]:
        return (self.row, self.what, self.store)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def floor_ratio(self) -> float | None:
        """How many times slower than the floor; 1: as fast as the floor."""
        if not self.floor:
            return None
        floor = statistics.median(self.floor)
        return _ratio(floor, self.median) if self.more_is_better else _ratio(self.median, floor)

    @property
    def target_ratio(self) -> float | None:
        """How many times slower than its target; up to 1: the target is reached."""
        if self.target is None:
            return None
        return _ratio(self.target, self.median) if self.more_is_better else _ratio(self.median, self.target)

    @property
    def reached(self) -> bool | None:
        """Whether both the target and the maximum ratio to the floor are reached; None without either."""
        ratios = self.ratios_to_targets
        return all(ratio <= 1.0 for ratio in ratios) if ratios else None

    @property
    def ratios_to_targets(self) -> list[float]:
        """How many times slower than its target, and than the maximum ratio to the floor; each if it is set."""
        ratios = [] if self.target_ratio is None else [self.target_ratio]
        if self.floor_ratio is not None and self.most_floors is not None:
            ratios.append(self.floor_ratio / self.most_floors)
        return ratios

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "median": self.median,
            "floors": self.floor_ratio,
            "short_by": self.target_ratio,
            "reached": self.reached,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        values = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        return cls(**{**values, "samples": tuple(data["samples"]), "floor": tuple(data["floor"])})


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("inf")


NOTE = (
    "Medians, with minimum and maximum in brackets. Machines are noisy: compare ratios to the floor within one run, "
    "not times of different runs."
)
HEADINGS = ("row", "quantity", "store", "median", "floor", "x floor", "target", "reached")


def table(figures: Sequence[Figure], earlier: Mapping[tuple[str, str, str], Figure] | None = None) -> str:
    """The figures as an aligned table. ``earlier``: the figures of an earlier run, for an additional column."""
    rows = [list(HEADINGS) + (["earlier"] if earlier is not None else [])]
    for figure in figures:
        cells = [figure.row, figure.what, figure.store, _spread(figure), _floor(figure)]
        cells += [_times(figure.floor_ratio), _target(figure), _reached(figure)]
        if earlier is not None:
            cells.append(_change(figure, earlier.get(figure.name)))
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    floors = dict.fromkeys(f"Floor of {figure.row}: {figure.floor_is}." for figure in figures if figure.floor_is)
    return "\n".join([*lines, "", *floors, NOTE])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(figure: Figure) -> str:
    minimum, maximum = min(figure.samples), max(figure.samples)
    return f"{_number(figure.median)} {figure.unit} [{_number(minimum)}-{_number(maximum)}]"


def _floor(figure: Figure) -> str:
    return f"{_number(statistics.median(figure.floor))}" if figure.floor else ""


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _target(figure: Figure) -> str:
    parts = []
    if figure.target is not None:
        parts.append(f"{'>=' if figure.more_is_better else '<='} {_number(figure.target)}")
    if figure.most_floors is not None:
        parts.append(f"<= {figure.most_floors:g} floors")
    return ", ".join(parts)


def _reached(figure: Figure) -> str:
    if figure.reached is None:
        return ""
    return "yes" if figure.reached else f"short by {max(figure.ratios_to_targets):.2f}x"


def _change(figure: Figure, earlier: Figure | None) -> str:
    if earlier is None:
        return "new"
    text = f"{_number(earlier.median)} ({_ratio(figure.median, earlier.median):.2f}x)"
    if figure.floor_ratio is not None and earlier.floor_ratio is not None:
        text += f", floors {earlier.floor_ratio:.2f}"
    return text


def report(machine: Mapping[str, str], figures: Sequence[Figure], options: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, the options and the figures of a run, as JSON."""
    return {"machine": dict(machine), "options": dict(options), "figures": [figure.as_json() for figure in figures]}


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Write a report to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> dict[tuple[str, str, str], Figure]:
    """The figures of a saved report, by name."""
    figures: Iterable[Figure] = map(Figure.from_json, json.loads(path.read_text(encoding="utf-8"))["figures"])
    return {figure.name: figure for figure in figures}
