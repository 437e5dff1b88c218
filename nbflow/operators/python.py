"""Operators that call a Python function, and those of ``@task``, ``@task.branch`` and ``@task.short_circuit``.

The function gets ``op_args`` and ``op_kwargs``, and the context values that its parameters name (all of them if it has
``**kwargs``). An ``async def`` runs in a new event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.authoring.context import arguments_for
from nbflow.errors import InvalidArgument
from nbflow.operators.base import BaseOperator, BranchMixIn

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class CallsFunction:
    """Mixin of operators with ``python_callable``, ``op_args`` and ``op_kwargs``."""

    python_callable: Callable[..., Any]
    op_args: Collection[Any]
    op_kwargs: Mapping[str, Any]

    def call(self, context: Context) -> Any:
        """Call the function with its arguments and the context values that its parameters name."""
        arguments = arguments_for(self.python_callable, self.op_kwargs, context, positional=len(self.op_args))
        result = self.python_callable(*self.op_args, **arguments)
        if inspect.iscoroutine(result):
            import asyncio

            return asyncio.run(result)
        return result


class PythonOperator(CallsFunction, BaseOperator):
    """Calls ``python_callable``; its return value is the task's result.

    ``templates_dict`` is rendered and passed in the context; its values may be names of template files with a suffix in
    ``templates_exts``. ``show_return_value_in_logs=False`` keeps a large or private result out of the log.
    """

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}
    shallow_copy_attrs: Sequence[str] = ("python_callable", "op_kwargs")
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(python_callable):
            raise InvalidArgument(f"python_callable of {self.task_id} must be a function, not {python_callable!r}.")
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}
        self.templates_dict = templates_dict
        if templates_exts:
            self.template_ext = tuple(templates_exts)
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context: Context) -> Any:
        result = self.call(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %s", _text_of(result))
        else:
            self.log.info("Done. Returned value not shown.")
        return result


def _text_of(value: Any) -> str:
    """``str(value)``, or why there is none: a ``__repr__`` that raises, or a long int, is no error of the task."""
    try:
        return str(value)
    except Exception as error:
        return f"<a {type(value).__name__}, whose text raised {type(error).__name__}>"


class BranchPythonOperator(PythonOperator, BranchMixIn):
    """The function returns the id (or ids) of the direct downstream tasks or groups to run; the others are skipped."""

    def execute(self, context: Context) -> Any:
        return self.do_branch(context, super().execute(context))


class ShortCircuitOperator(PythonOperator):
    """Skips all downstream tasks if the function returns a false value.

    ``ignore_downstream_trigger_rules=False`` skips only the direct downstream tasks; the trigger rules of the others
    then decide.
    """

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    @property
    def steers(self) -> str:
        """Which downstream tasks a success may skip (see ``TaskSpec.steers``)."""
        return "all" if self.ignore_downstream_trigger_rules else "direct"

    def execute(self, context: Context) -> Any:
        condition = super().execute(context)
        if not condition:
            context["ti"].skip_downstream(self.steers)
        return condition


class DecoratedPythonOperator(PythonOperator):
    """``@task``"""

    custom_operator_name = "@task"


class DecoratedBranchPythonOperator(BranchPythonOperator):
    """``@task.branch``"""

    custom_operator_name = "@task.branch"


class DecoratedShortCircuitOperator(ShortCircuitOperator):
    """``@task.short_circuit``"""

    custom_operator_name = "@task.short_circuit"
