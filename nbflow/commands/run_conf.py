"""The conf of a run, from ``--conf`` and ``-p``."""

from __future__ import annotations

from typing import Any

from nbflow.command_arguments import Values


def conf_of(args: Values) -> dict[str, Any]:
    """The run's conf. ``-p`` overrides ``--conf``."""
    conf: dict[str, Any] = dict(getattr(args, "conf", None) or {})
    for pair in args.param:
        conf |= pair
    return conf
