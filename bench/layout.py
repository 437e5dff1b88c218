"""Laying out graphs: what a view of a DAG waits for before anything is drawn. Seconds of this thread's own CPU time, so
that other work on the machine is not counted."""

from __future__ import annotations

import time

from bench.figures import Figure
from bench.graphs import GRAPHS
from bench.world import Bench

TARGETS = {300: 0.2}
"""Number of nodes -> seconds within which a graph of that size is laid out, whatever its shape."""


def measure(bench: Bench) -> list[Figure]:
    from nbflow.ui.layout import layout

    figures = []
    for shape, graph_of in GRAPHS.items():
        for nodes in bench.nodes:
            graph, samples, what = graph_of(nodes), [], f"{nodes} nodes, {shape}"
            for _ in range(bench.runs):
                began = time.thread_time()
                layout(*graph)
                samples.append(time.thread_time() - began)
            target = TARGETS.get(nodes)
            figures.append(Figure(row="layout", what=what, unit="s", samples=tuple(samples), target=target))
    return figures
