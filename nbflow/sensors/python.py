"""Waiting for a Python function to return a true value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.operators.python import CallsFunction
from nbflow.sensors.base import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class PythonSensor(CallsFunction, BaseSensorOperator):
    """Waits until ``python_callable`` returns a true value (or a PokeReturnValue with ``is_done``)."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}
        self.templates_dict = templates_dict

    def poke(self, context: Context) -> bool | PokeReturnValue:
        result = self.call(context)
        return result if isinstance(result, PokeReturnValue) else bool(result)


class DecoratedPythonSensor(PythonSensor):
    """``@task.sensor``"""

    custom_operator_name = "@task.sensor"
