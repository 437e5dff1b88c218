"""Laying out graphs, which a view of a DAG does before it draws. Measured in CPU time of this thread, so that other
processes on the machine do not count."""

from __future__ import annotations

import time

from bench.harness import Bench
from bench.layout_graphs import GRAPHS
from bench.results import Figure

TARGETS = {300: 0.2}
"""Number of nodes -> maximum seconds, for a graph of any shape."""


def measure(bench: Bench) -> list[Figure]:
    from nbflow.ui.layout import layout

    figures = []
    for shape, graph_of in GRAPHS.items():
        for nodes in bench.nodes:
            graph, samples, what = graph_of(nodes), [], f"{nodes} nodes, {shape}"
            for _ in range(bench.runs):
                started = time.thread_time()
                layout(*graph)
                samples.append(time.thread_time() - started)
            target = TARGETS.get(nodes)
            figures.append(Figure(row="layout", what=what, unit="s", samples=tuple(samples), target=target))
    return figures
