"""The feed is tested with the stores of ``tests/store``."""

from __future__ import annotations

from tests.store.conftest import (  # noqa: F401
    empty_postgres,
    migrated_postgres,
    sqlite_path,
    sqlite_template,
    sqlite_url,
)
