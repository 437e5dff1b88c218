"""nbflow has no import cycles, not even by imports inside functions."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping

import grimp
import pytest

#: (importer, imported): the intended circular imports.
INTENDED = {
    ("nbflow.authoring.dag", "nbflow.app"),  # dag.test(), Airflow's spelling of "run this here"
    ("nbflow", "nbflow.surface_entry_points"),  # %load_ext nbflow looks for its hooks in the package itself
}


def cycle_of(graph: Mapping[str, set[str]]) -> list[str]:
    """A cycle, which begins and ends with the same module; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [*reversed(error.args[1])]
    return []


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module -> the modules that it imports at the top or inside a function, except under ``TYPE_CHECKING``."""
    graph = grimp.build_graph("nbflow", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_there_are_no_import_cycles(imports: dict[str, set[str]]) -> None:
    graph = {
        module: {name for name in imported if (module, name) not in INTENDED} for module, imported in imports.items()
    }
    assert cycle_of(graph) == []


@pytest.mark.parametrize("pair", INTENDED)
def test_each_intended_circular_import_exists(imports: dict[str, set[str]], pair: tuple[str, str]) -> None:
    others = INTENDED - {pair}
    graph = {
        module: {name for name in imported if (module, name) not in others} for module, imported in imports.items()
    }
    assert pair[1] in imports[pair[0]]
    assert set(cycle_of(graph)) >= {*pair}
