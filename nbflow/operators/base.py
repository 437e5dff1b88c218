"""Base classes of operators.

``BaseOperator`` is :class:`nbflow.authoring.operator.BaseOperator`. An operator is a file in this folder: a class with
Airflow's name and arguments, ``template_fields`` (the names of the attributes that are templates) and ``execute``. The
methods and when they are called; all but ``__init__`` once a try, by :mod:`nbflow.execution.task_runner` in the process
that runs the task:

====================================  ==================================================================================
``__init__``                          when the DAG file is parsed: stores the arguments; no work, no connections
``render_template_fields(context)``   first, on a copy of the task
``pre_execute(context)``              before execute
``execute(context)``                  does the work; its result becomes the XCom ``return_value``
``post_execute(context, result)``     after a successful execute
``on_kill()``                         when the try is killed or reaches its time limit: end subprocesses, cancel queries
====================================  ==================================================================================

A service is used through a hook, created in ``execute`` from a connection id; the hook imports the client library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nbflow.authoring.operator import BaseOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

__all__ = ["BaseBranchOperator", "BaseOperator", "BranchMixIn"]


class BranchMixIn:
    """Mixin of operators that choose which downstream tasks run."""

    steers = "direct"
    """Which downstream tasks a success may skip (see ``TaskSpec.steers``); these tasks wait for the choice."""

    def do_branch(self, context: Context, branches_to_execute: str | Iterable[str] | None) -> Any:
        """Skip the direct downstream tasks (or groups) other than these; None or [] skips all of them.

        An id that the DAG does not have fails the task.
        """
        if isinstance(branches_to_execute, Iterable) and not isinstance(branches_to_execute, str | Mapping):
            branches_to_execute = list(branches_to_execute)
        context["ti"].skip_all_except(branches_to_execute)
        return branches_to_execute


class BaseBranchOperator(BaseOperator, BranchMixIn):
    """Base of operators that branch: override :meth:`choose_branch`."""

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """Return the ids of the direct downstream tasks (or groups) to run."""
        raise NotImplementedError(f"{type(self).__name__} must define choose_branch().")

    def execute(self, context: Context) -> Any:
        return self.do_branch(context, self.choose_branch(context))
