"""Paths of labs, quizzes and notebooks: inside the package in an installed wheel, beside it in a checkout.

``[tool.hatch.build.targets.wheel.sources]`` in pyproject.toml moves the three top-level folders of a checkout to
``nbflow/content``. A wheel always has that folder, so an installed nbflow never searches the folder around it: a
``labs`` in site-packages belongs to another package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Content = Literal["labs", "notebooks", "quizzes"]
_PACKAGE = Path(__file__).parents[1]


def content_folder(kind: Content) -> Path:
    """The folder of the labs, notebooks or quizzes that come with nbflow."""
    installed = _PACKAGE / "content"
    return (installed if installed.is_dir() else _PACKAGE.parent) / kind
