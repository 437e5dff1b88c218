"""The fixtures of single tries."""

from tests.running.conftest import dag, runtime

__all__ = ["dag", "runtime"]
