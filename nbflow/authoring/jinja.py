"""The Jinja environments. This module imports jinja2, so it is imported only to render a real template.

Both environments are sandboxed: the one that renders text, and the one that renders native Python values
(``render_template_as_native_obj``). As in Airflow, templates can read attributes that begin with one underscore.
Closed are Python's internals (``__class__``, ``__globals__``, code and frame objects), as in jinja2, and, beyond
jinja2, the private names and submodules of a module (``macros.json.dumps`` works, but not
``macros.json.codecs.builtins.eval``).

The context of a task is lazy (:mod:`nbflow.authoring.context`). ``render`` passes it to Jinja as the parent scope, so
that Jinja does not copy it and only the variables that the template uses are computed.
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
    """Renders to a Python value, as ``render_template_as_native_obj`` demands."""


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
    """Return the environment of a DAG, with its macros, filters and search path. Cached for each DAG.

    ``native``: whether it renders native Python values; by default as the DAG's ``render_template_as_native_obj``."""
    native = bool(getattr(dag, "render_template_as_native_obj", False)) if native is None else native
    if dag is None:
        return _create(None, native)
    cached = _environments.setdefault(dag, {})
    if native not in cached:
        cached[native] = _create(dag, native)
    return cached[native]


def _create(dag: Any, native: bool) -> Environment:
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
    """Compile a template; cached."""
    return env.from_string(text)


def render(env: Environment, template: Any, context: Mapping[str, Any]) -> Any:
    """Render the template to text (or to a native value) in this context.

    Raises jinja2's UndefinedError for an unknown name; errors raised inside the template are passed on.
    """
    scope = template.new_context(_Scope(context, template.globals), shared=True)
    try:
        return env.concat(template.root_render_func(scope))  # type: ignore[attr-defined]
    except Exception:
        env.handle_exception()  # rewrites the traceback to show the template's line


def template_of_file(env: Environment, name: str) -> Any:
    """Load a template file from the search path. Raises AirflowException, which names the folders searched."""
    try:
        return env.get_template(name)
    except TemplateNotFound as error:
        folders = ", ".join(getattr(env.loader, "searchpath", None) or [])
        where = f"in {folders}" if folders else "because the DAG has neither a file nor a template_searchpath"
        raise AirflowException(
            f"Template file {error.name} was not found {where}.",
            hint="Add its folder to the DAG's template_searchpath. If the text is not a file name, append a space or "
            "wrap it in literal(...).",
        ) from None


class _Scope(Mapping[str, Any]):
    """The context, then the environment's globals; a value is looked up when the template uses it."""

    def __init__(self, context: Mapping[str, Any], template_globals: Mapping[str, Any]) -> None:
        self._context, self._globals = context, template_globals

    def __getitem__(self, key: str) -> Any:
        return self._context[key] if key in self._context else self._globals[key]

    def __contains__(self, key: object) -> bool:
        return key in self._context or key in self._globals

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._globals), **dict.fromkeys(self._context)})

    def __len__(self) -> int:
        return len({*self._globals, *self._context})

    def copy(self) -> dict[str, Any]:
        """Jinja copies the variables to show them in a traceback: none, because copying would compute all of them."""
        return {}
