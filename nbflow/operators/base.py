"""What every operator is built on, and what several of them share.

``BaseOperator`` is :class:`nbflow.authoring.operator.BaseOperator`. An operator is a file in this folder: a class with
Airflow's name and arguments, ``template_fields`` naming the attributes that are templates, and ``execute``. Who calls
what, once a try, all in the process that runs the task (see :mod:`nbflow.execution.task_runner`):

====================================  ================================================================================
``__init__``                          while the DAG file is read: stores its arguments, does no work, asks for nothing
``render_template_fields(context)``   first, on a copy of the task
``pre_execute(context)``              before execute
``execute(context)``                  does the work; its result becomes the XCom ``return_value``
``post_execute(context, result)``     after a successful execute
``on_kill()``                         when the try is stopped from outside or runs out of time: end what was started
====================================  ================================================================================

A service is reached through a hook, made in ``execute`` from a connection id; its client library is imported there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nbflow.authoring.operator import BaseOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

__all__ = ["BaseBranchOperator", "BaseOperator", "BranchMixIn"]


class BranchMixIn:
    """Of an operator that chooses what comes next."""

    steers = "direct"
    """What a success may skip (see ``TaskSpec.steers``): a task waits until it is known whether it is to be skipped."""

    def do_branch(self, context: Context, branches_to_execute: str | Iterable[str] | None) -> Any:
        """Follow these tasks (or groups) directly after this one and skip the others; None or [] skips all.

        Ids that the DAG does not have fail the task.
        """
        if isinstance(branches_to_execute, Iterable) and not isinstance(branches_to_execute, str | Mapping):
            branches_to_execute = list(branches_to_execute)
        context["ti"].follow(branches_to_execute)
        return branches_to_execute


class BaseBranchOperator(BaseOperator, BranchMixIn):
    """Base of operators that branch: override :meth:`choose_branch`."""

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """Ids of the tasks (or groups) to follow."""
        raise NotImplementedError(f"{type(self).__name__} must define choose_branch().")

    def execute(self, context: Context) -> Any:
        return self.do_branch(context, self.choose_branch(context))
