"""Variables from the environment."""

from __future__ import annotations

import pytest

from nbflow.secrets_backends import EnvironmentBackend, SecretsChain, providing
from nbflow.variables import Variable


@pytest.mark.facts("variables_env")
def test_variables_env(case, check):
    with providing(SecretsChain([EnvironmentBackend(case["env"])])):
        check(lambda: {"value": Variable.get(case["key"], **case["kwargs"])})
