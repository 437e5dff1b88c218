"""nbflow: Apache Airflow's ideas in a notebook.

``import nbflow`` does no I/O, reads no environment variable, installs no import hook and imports no other module of
nbflow: a public name is imported at its first use. To add a name, add a line to the table and to the type-checking
block below it (``tests/leaf/test_package.py`` compares the two).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> the module that defines it
_EXPORTS: dict[str, str] = {
    "DAG": "nbflow.authoring.dag",
    "dag": "nbflow.authoring.dag",
    "task": "nbflow.authoring.task_decorators",
    "task_group": "nbflow.authoring.taskgroup",
    "TaskGroup": "nbflow.authoring.taskgroup",
    "setup": "nbflow.authoring.task_decorators",
    "teardown": "nbflow.authoring.task_decorators",
    "BaseOperator": "nbflow.authoring.operator",
    "XComArg": "nbflow.authoring.xcomarg",
    "Param": "nbflow.authoring.params",
    "Label": "nbflow.authoring.edges",
    "chain": "nbflow.authoring.edges",
    "chain_linear": "nbflow.authoring.edges",
    "cross_downstream": "nbflow.authoring.edges",
    "Context": "nbflow.authoring.context",
    "get_current_context": "nbflow.authoring.context",
    "literal": "nbflow.authoring.templating",
    "TriggerRule": "nbflow.core.trigger_rules",
    "Connection": "nbflow.connections",
    "Variable": "nbflow.variables",
    "glue": "nbflow.operators.notebook_results",
}

if TYPE_CHECKING:
    from nbflow.authoring.context import Context as Context
    from nbflow.authoring.context import get_current_context as get_current_context
    from nbflow.authoring.dag import DAG as DAG
    from nbflow.authoring.dag import dag as dag
    from nbflow.authoring.edges import Label as Label
    from nbflow.authoring.edges import chain as chain
    from nbflow.authoring.edges import chain_linear as chain_linear
    from nbflow.authoring.edges import cross_downstream as cross_downstream
    from nbflow.authoring.operator import BaseOperator as BaseOperator
    from nbflow.authoring.params import Param as Param
    from nbflow.authoring.task_decorators import setup as setup
    from nbflow.authoring.task_decorators import task as task
    from nbflow.authoring.task_decorators import teardown as teardown
    from nbflow.authoring.taskgroup import TaskGroup as TaskGroup
    from nbflow.authoring.taskgroup import task_group as task_group
    from nbflow.authoring.templating import literal as literal
    from nbflow.authoring.xcomarg import XComArg as XComArg
    from nbflow.connections import Connection as Connection
    from nbflow.core.trigger_rules import TriggerRule as TriggerRule
    from nbflow.operators.notebook_results import glue as glue
    from nbflow.variables import Variable as Variable

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'nbflow' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext nbflow``."""
    from nbflow.surface_entry_points import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext nbflow``."""
    from nbflow.surface_entry_points import unload

    unload(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
