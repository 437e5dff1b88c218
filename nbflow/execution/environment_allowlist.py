"""The environment variables of the processes that run user code: an allow list without secrets.

Passed on: PATH and HOME, language, time zone, temporary folder, Python's paths, NBFLOW_HOME, settings that are not
sensitive, and the variables that the administrator lists. Never passed on: connections, variables, keys, the
metastore's address, cloud credentials, or anything else in the supervisor's environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from nbflow.config import AIRFLOW_PREFIX, PREFIX, SECTIONS

PASSED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
        "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE",
        "SSL_CERT_DIR", "XDG_RUNTIME_DIR", "JUPYTER_PATH", "JUPYTER_DATA_DIR", "NBFLOW_HOME",
    }
)  # fmt: skip


def minimal_environment(environ: Mapping[str, str], passed: Iterable[str] = ()) -> dict[str, str]:
    """The part of ``environ`` that user code gets; ``passed`` names further variables to pass on."""
    names = PASSED | frozenset(passed)
    settings = _insensitive_settings()
    return {
        name: value
        for name, value in environ.items()
        if name in names or name.startswith("LC_") or name.upper() in settings
    }


def _insensitive_settings() -> frozenset[str]:
    return frozenset(
        f"{prefix}{section}__{spec.name}".upper()
        for prefix in (PREFIX, AIRFLOW_PREFIX)
        for section, kind in SECTIONS.items()
        for spec in fields(kind)
        if not spec.metadata["sensitive"]
    )
