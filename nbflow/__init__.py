"""nbflow: Apache Airflow's ideas in a notebook.

``import nbflow`` does no I/O, reads no environment and loads nothing heavy: a public name is looked up in the table
below when it is first asked for. To add one, add a line to the table and one to the type-checking block beneath it
(``tests/leaf/test_package.py`` compares the two).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> the module that defines it
_EXPORTS: dict[str, str] = {}

if TYPE_CHECKING:
    pass

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'nbflow' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
