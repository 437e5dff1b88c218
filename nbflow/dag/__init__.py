"""Authoring: what a DAG file or a notebook cell is written with. ``compile`` turns it into :mod:`nbflow.core.spec`.

The package can be called: ``from nbflow import dag`` must give the decorator, but once any module in here is imported,
Python binds the name ``dag`` of ``nbflow`` to this package. So the two are one thing, whoever comes first: ``@dag``
calls the package, which calls the decorator.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from nbflow.authoring.dag import dag

        return dag(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
