"""The Jinja environments. Importing this module imports jinja2: only a template that is one pays for it.

Both environments are sandboxed: the one that makes text, and the one that makes native Python values
(``render_template_as_native_obj``). Airflow's templates may read attributes that begin with one underscore, so ours
may; what leads out of the sandbox is closed: Python's internals (``__class__``, ``__globals__``, code and frame
objects) as in jinja2, and, beyond it, a module is open only as far as it is meant to be (``macros.json.dumps`` yes,
``macros.json.codecs.builtins.eval`` no).

The context of a task is lazy (:mod:`nbflow.authoring.context`), and Jinja is kept from copying it: ``render`` hands it
over as the parent scope, so that a template pays for the variables that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.exceptions import TemplateNotFound, UndefinedError
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import SandboxedEnvironment, is_internal_attribute

from nbflow.errors import AirflowException

__all__ = ["NativeSandbox", "Sandbox", "TemplateNotFound", "UndefinedError", "environment", "render"]


class Sandbox(SandboxedEnvironment):
    """Renders to text."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, ModuleType):
            public = getattr(obj, "__all__", None)
            return attr in public if public is not None else attr[0] != "_" and not isinstance(value, ModuleType)
        return not is_internal_attribute(obj, attr)


class NativeSandbox(Sandbox, NativeEnvironment):
    """Renders to the Python value that the template spells."""


def ds_filter(value: Any) -> str | None:
    """``YYYY-MM-DD``"""
    return None if value is None else value.strftime("%Y-%m-%d")


def ds_nodash_filter(value: Any) -> str | None:
    """``YYYYMMDD``"""
    return None if value is None else value.strftime("%Y%m%d")


def ts_filter(value: Any) -> str | None:
    """ISO 8601"""
    return None if value is None else value.isoformat()


def ts_nodash_filter(value: Any) -> str | None:
    """``YYYYMMDDTHHMMSS``"""
    return None if value is None else value.strftime("%Y%m%dT%H%M%S")


def ts_nodash_with_tz_filter(value: Any) -> str | None:
    """ISO 8601 without dashes and colons"""
    return None if value is None else value.isoformat().replace("-", "").replace(":", "")


FILTERS = {
    "ds": ds_filter,
    "ds_nodash": ds_nodash_filter,
    "ts": ts_filter,
    "ts_nodash": ts_nodash_filter,
    "ts_nodash_with_tz": ts_nodash_with_tz_filter,
}

_environments: WeakKeyDictionary[Any, dict[bool, Environment]] = WeakKeyDictionary()


def environment(dag: Any = None, *, native: bool | None = None) -> Environment:
    """The environment of a DAG: its macros, filters, search path and choice of native values. Made once a DAG."""
    native = bool(getattr(dag, "render_template_as_native_obj", False)) if native is None else native
    if dag is None:
        return _make(None, native)
    known = _environments.setdefault(dag, {})
    if native not in known:
        known[native] = _make(dag, native)
    return known[native]


def _make(dag: Any, native: bool) -> Environment:
    options = {
        "undefined": getattr(dag, "template_undefined", None) or StrictUndefined,
        "extensions": ["jinja2.ext.do"],
        "cache_size": 400,
        **(getattr(dag, "jinja_environment_kwargs", None) or {}),
        "loader": FileSystemLoader(search_path(dag)),
    }
    env = (NativeSandbox if native else Sandbox)(**options)  # autoescape stays off: fields are SQL and shell, not HTML
    env.globals.update(getattr(dag, "user_defined_macros", None) or {})
    env.filters.update(FILTERS)
    env.filters.update(getattr(dag, "user_defined_filters", None) or {})
    return env


def search_path(dag: Any) -> list[str]:
    """Folders of template files: the DAG file's own, then ``template_searchpath``."""
    extra = getattr(dag, "template_searchpath", None) or []
    folder = getattr(dag, "folder", None)
    return [*([str(folder)] if folder else []), *([extra] if isinstance(extra, str) else map(str, extra))]


@lru_cache(maxsize=1024)
def template_of_text(env: Environment, text: str) -> Template:
    """The template that a text is, compiled once a process."""
    return env.from_string(text)


def render(env: Environment, template: Any, context: Mapping[str, Any]) -> Any:
    """The template's text (or value) in this context.

    Raises jinja2's UndefinedError for a name that is not there; a template's other errors come as they are.
    """
    scope = template.new_context(_Scope(context, template.globals), shared=True)
    try:
        return env.concat(template.root_render_func(scope))  # type: ignore[attr-defined]
    except Exception:
        env.handle_exception()  # puts the template's own line into the traceback


def template_of_file(env: Environment, name: str) -> Any:
    """The template in a file of the search path; AirflowException saying where it was looked for."""
    try:
        return env.get_template(name)
    except TemplateNotFound as error:
        places = ", ".join(getattr(env.loader, "searchpath", None) or ["nowhere: the DAG has no file"])
        raise AirflowException(
            f"Template file {error.name} was not found in {places}.",
            hint="Add its folder to the DAG's template_searchpath. A text that only looks like a file name ends in a "
            "space, or is wrapped in literal(...).",
        ) from None


class _Scope(Mapping[str, Any]):
    """The context in front of the environment's globals, both asked only for what is named."""

    def __init__(self, context: Mapping[str, Any], above: Mapping[str, Any]) -> None:
        self._context, self._above = context, above

    def __getitem__(self, key: str) -> Any:
        return self._context[key] if key in self._context else self._above[key]

    def __contains__(self, key: object) -> bool:
        return key in self._context or key in self._above

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._above), **dict.fromkeys(self._context)})

    def __len__(self) -> int:
        return len({*self._above, *self._context})

    def copy(self) -> dict[str, Any]:
        """Jinja asks for the variables that a traceback shows: none, since working them all out is not worth it."""
        return {}
