"""nbflow: Apache Airflow's ideas in a notebook.

``import nbflow`` does no I/O, reads no environment and loads nothing heavy: a public name is looked up in the table
below when it is first asked for. To add one, add a line to the table and one to the type-checking block beneath it
(``tests/leaf/test_package.py`` compares the two).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> the module that defines it
_EXPORTS: dict[str, str] = {
    "DAG": "nbflow.dag.dag",
    "dag": "nbflow.dag.dag",
    "task": "nbflow.dag.decorators",
    "task_group": "nbflow.dag.taskgroup",
    "TaskGroup": "nbflow.dag.taskgroup",
    "setup": "nbflow.dag.decorators",
    "teardown": "nbflow.dag.decorators",
    "BaseOperator": "nbflow.dag.operator",
    "XComArg": "nbflow.dag.xcomarg",
    "Param": "nbflow.dag.params",
    "Label": "nbflow.dag.edges",
    "chain": "nbflow.dag.edges",
    "chain_linear": "nbflow.dag.edges",
    "cross_downstream": "nbflow.dag.edges",
    "get_current_context": "nbflow.dag.context",
    "TriggerRule": "nbflow.core.trigger_rules",
    "Connection": "nbflow.connections",
    "Variable": "nbflow.connections",
}

if TYPE_CHECKING:
    from nbflow.connections import Connection as Connection
    from nbflow.connections import Variable as Variable
    from nbflow.core.trigger_rules import TriggerRule as TriggerRule
    from nbflow.dag.context import get_current_context as get_current_context
    from nbflow.dag.dag import DAG as DAG
    from nbflow.dag.dag import dag as dag
    from nbflow.dag.decorators import setup as setup
    from nbflow.dag.decorators import task as task
    from nbflow.dag.decorators import teardown as teardown
    from nbflow.dag.edges import Label as Label
    from nbflow.dag.edges import chain as chain
    from nbflow.dag.edges import chain_linear as chain_linear
    from nbflow.dag.edges import cross_downstream as cross_downstream
    from nbflow.dag.operator import BaseOperator as BaseOperator
    from nbflow.dag.params import Param as Param
    from nbflow.dag.taskgroup import TaskGroup as TaskGroup
    from nbflow.dag.taskgroup import task_group as task_group
    from nbflow.dag.xcomarg import XComArg as XComArg

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'nbflow' has no attribute {name!r}")
    found = import_module(module)
    # Importing that module has bound `nbflow.dag` to the package of this name, which can be called: let it stand.
    value = globals()[name] = globals().get(name) or getattr(found, name)
    return value


class Signpost:
    """Asked last by ``import``: a module of nbflow that does not exist is an error that says where things are."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.startswith("nbflow.") and not fullname.rpartition(".")[2].startswith("_"):
            from nbflow.elsewhere import missing

            raise missing(fullname)


if not any(getattr(finder, "__qualname__", "") == "Signpost" for finder in sys.meta_path):
    sys.meta_path.append(Signpost)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext nbflow``."""
    from nbflow.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext nbflow``."""
    from nbflow.notebook.magics import unload

    unload(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
