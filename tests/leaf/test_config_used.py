"""A setting that nothing reads is a promise that nothing keeps."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import nbflow
from nbflow.config import SECTIONS

PACKAGE = Path(nbflow.__file__).parent
SOURCES = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "config.py")


@pytest.mark.parametrize(
    "name", [f"{section}.{spec.name}" for section, kind in SECTIONS.items() for spec in fields(kind)]
)
def test_something_reads_each_option(name):
    assert re.search(rf"\b{name.partition('.')[2]}\b", SOURCES), name
