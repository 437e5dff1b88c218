"""The fixtures for running a single try."""

from tests.running.conftest import dag, runtime

__all__ = ["dag", "runtime"]
