"""``python -m bench``: measure the rows and print the table."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.harness import Bench
from bench.machine import describe
from bench.postgres_databases import postgres
from bench.results import Figure, load, report, save, table
from tests.servers import chromium

ROWS = (
    "parallel", "in_process", "chain", "backfill", "process_starts", "parsing", "idle_processes", "history", "layout",
    "masking", "widget",
)  # fmt: skip
"""Modules of this package, in the order of the table."""
RESULTS = Path(__file__).with_name("results")
STORES = {"sqlite": ("sqlite",), "postgres": ("postgres",), "both": ("sqlite", "postgres")}


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    with contextlib.ExitStack() as stack:
        stores, server = STORES[args.store], None
        if "postgres" in stores:
            try:
                server = stack.enter_context(postgres())
            except LookupError as error:
                _log(f"Postgres is left out: {error}")
                stores = tuple(store for store in stores if store != "postgres")
        machine = describe([("postgres", server.version)] if server else [])
        bench = Bench(
            runs=args.runs, stores=stores, postgres=server, history=args.history, browser=chromium(), log=_log
        )
        figures = measure(bench, args.only or ROWS)
    results = report(machine, figures, {"runs": args.runs, "stores": stores})
    if args.output == "json":
        print(json.dumps(results, indent=2))
    else:
        width = max(map(len, machine))
        print("\n".join(f"{name:<{width}}  {text}" for name, text in machine.items()), end="\n\n")
        print(table(figures, load(args.compare) if args.compare else None))
    if args.save is not None:
        path = RESULTS / f"{args.save or time.strftime('%Y-%m-%d_%H%M%S')}.json"
        save(path, results)
        _log(f"Saved as {path}.")
    return 0


def measure(bench: Bench, rows: Sequence[str]) -> list[Figure]:
    """The figures of these rows, in the order of the table."""
    figures: list[Figure] = []
    for row in ROWS:
        if row in rows:
            started = time.perf_counter()
            figures += import_module(f"bench.{row}").measure(bench)
            bench.log(f"{row}: {time.perf_counter() - started:.0f} s")
    return figures


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=ROWS, metavar="ROW", help=f"Rows to measure, of {', '.join(ROWS)} (default: all)."
    )
    parser.add_argument("--runs", type=int, default=5, help="Runs of each measurement (default: 5).")
    parser.add_argument("--store", choices=tuple(STORES), default="both", help="Metastores to measure (default: both).")
    parser.add_argument(
        "--history", type=int, default=1_000_000, help="Number of finished task instances in the row `history`."
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument(
        "--save", nargs="?", const="", metavar="NAME", help=f"Save the figures in bench/{RESULTS.name}/."
    )
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="Saved report to compare with, in an additional column."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
