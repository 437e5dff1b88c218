"""No module of nbflow imports itself by way of others, not even by imports that stand inside functions."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping

import grimp
import pytest

#: (importer, imported): the circular imports that are meant.
MEANT = {
    ("nbflow.authoring.dag", "nbflow.app"),  # dag.test(), Airflow's spelling of "run this here"
    ("nbflow", "nbflow.entry_points"),  # %load_ext nbflow looks for its hooks in the package itself
}


def cycle_of(graph: Mapping[str, set[str]]) -> list[str]:
    """A cycle, from its first importer to the same again; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [*reversed(error.args[1])]
    return []


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module -> the modules that it imports at its top or inside a function, but for type checkers alone."""
    graph = grimp.build_graph("nbflow", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_module_imports_itself_by_way_of_others(imports: dict[str, set[str]]) -> None:
    meant = {module: {one for one in found if (module, one) not in MEANT} for module, found in imports.items()}
    assert cycle_of(meant) == []


@pytest.mark.parametrize("pair", MEANT)
def test_each_circular_import_that_is_meant_is_one(imports: dict[str, set[str]], pair: tuple[str, str]) -> None:
    others = MEANT - {pair}
    graph = {module: {one for one in found if (module, one) not in others} for module, found in imports.items()}
    assert pair[1] in imports[pair[0]]
    assert set(cycle_of(graph)) >= {*pair}
