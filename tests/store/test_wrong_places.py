"""Paths that cannot be a metastore: the error is one line, and the file is not changed."""

from __future__ import annotations

import pytest

from nbflow.errors import StoreError
from nbflow.store import open_store


def test_a_file_of_another_kind_is_refused_and_not_changed(tmp_path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"these are notes, not a database. " * 100)
    before = path.read_bytes()
    store = open_store(f"sqlite:///{path}")

    for call in (store.migrate, store.check, store.dags):
        with pytest.raises(StoreError, match="is not an SQLite database"):
            call()

    store.close()
    assert path.read_bytes() == before


def test_a_path_where_no_file_can_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    store = open_store(f"sqlite:///{tmp_path}/file/nbflow.db")

    with pytest.raises(StoreError, match=r"file/nbflow\.db cannot be created: "):
        store.migrate()
    store.close()
