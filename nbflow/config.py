"""Settings: one frozen dataclass a section, one field an option; nothing is read until ``Settings.load`` is called.

An option is declared once, as a field made by ``option(...)``: its annotation selects the parser, its metadata are
the help text, the minimum and the choices. ``nbflow config list`` and the commented ``nbflow.toml`` of a new home are
generated from these fields, so no second table can disagree with them.

Precedence, highest first (Airflow's order):

1. ``NBFLOW__SECTION__KEY``, then ``..._CMD`` (a command whose output is the value) and ``..._SECRET`` (a name that a
   secrets backend resolves); the last two for sensitive options only.
2. The same three as ``AIRFLOW__SECTION__KEY``, where Airflow has the option, except the metastore's URL: in a shell
   that is set up for Airflow, nbflow must never migrate Airflow's database.
3. ``$NBFLOW_HOME/nbflow.toml``: ``key``, ``key_cmd``, ``key_secret``.
4. The default.

An unknown name in ``nbflow.toml`` or an ``NBFLOW__`` variable is an error with the nearest name; unknown ``AIRFLOW__``
variables are ignored. ``{home}`` in a value and a leading ``~`` in a path are expanded; a relative path is relative to
the home.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from nbflow.errors import ConfigError, did_you_mean

log = logging.getLogger(__name__)

FILE_NAME = "nbflow.toml"
PREFIX = "NBFLOW__"
AIRFLOW_PREFIX = "AIRFLOW__"
#: Time limit of the command of a ``_CMD`` variant.
COMMAND_TIMEOUT_SECONDS = 30
HIDDEN = "< hidden >"


def option(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    sensitive: bool = False,
    airflow: tuple[str, ...] | None = None,
) -> Any:
    """Declare an option. ``airflow`` lists Airflow's ``SECTION__KEY`` spellings; ``None``: the same as nbflow's."""
    metadata = {"doc": doc, "choices": choices, "minimum": minimum, "sensitive": sensitive, "airflow": airflow}
    return field(default=default, metadata=metadata)


NOT_AIRFLOW: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Options that concern every component."""

    dags_folder: Path = option(Path("{home}/dags"), "Folder of DAG files (.py and .ipynb).")
    executor: str = option(
        "LocalExecutor",
        "Where tasks run: SequentialExecutor (one at a time, in the scheduler's process) or LocalExecutor (processes).",
        choices=("SequentialExecutor", "LocalExecutor"),
    )
    parallelism: int = option(
        0,
        "Maximum number of tasks running at once, over all DAGs. 0: twice the number of cores, at least 4.",
        minimum=0,
    )
    max_active_tasks_per_dag: int = option(
        16,
        "Default maximum number of running tasks in a run of a DAG.",
        minimum=1,
        airflow=("CORE__MAX_ACTIVE_TASKS_PER_DAG", "CORE__DAG_CONCURRENCY"),
    )
    max_active_runs_per_dag: int = option(16, "Default maximum number of active runs of a DAG.", minimum=1)
    dags_are_paused_at_creation: bool = option(
        True, "New DAGs start paused: they can be triggered, but are not scheduled."
    )
    dag_ignore_file_syntax: str = option(
        "glob",
        "Syntax of .nbflowignore and .airflowignore: glob (as .gitignore; Airflow 3) or regexp (Airflow 2).",
        choices=("glob", "regexp"),
    )
    load_examples: bool = option(False, "Load the example DAGs that nbflow ships.")
    default_timezone: str = option("utc", "IANA time zone of dates without a time zone.")
    default_task_retries: int = option(0, "Default number of retries of a task.", minimum=0)
    default_task_retry_delay: float = option(
        300.0, "Default number of seconds between a failure and the retry.", minimum=0
    )
    default_task_execution_timeout: float | None = option(
        None, "Default execution_timeout of a task, in seconds. Empty: no timeout.", minimum=0
    )
    default_task_weight_rule: str = option(
        "downstream",
        "Default weight_rule: how a task's priority adds up those of related tasks.",
        choices=("downstream", "upstream", "absolute"),
    )
    killed_task_cleanup_time: float = option(
        60.0, "Seconds between SIGTERM and SIGKILL when a task is killed.", minimum=0
    )
    callback_timeout: float = option(
        60.0,
        "Time limit of a callback of a task or a DAG, in seconds; 0: none. execution_timeout does not cover callbacks.",
        minimum=0,
        airflow=NOT_AIRFLOW,
    )
    dagbag_import_timeout: float = option(30.0, "Time limit for importing a DAG file, in seconds.", minimum=0)
    max_map_length: int = option(1024, "Maximum number of mapped instances of a task.", minimum=1)
    max_templated_field_length: int = option(
        4096, "Maximum number of stored characters of a rendered template field.", minimum=0
    )
    max_xcom_bytes: int = option(
        4 * 1024 * 1024,
        "Maximum size of an XCom, in bytes of JSON. For larger data pass a path or a table name.",
        minimum=1,
        airflow=NOT_AIRFLOW,
    )
    test_connection: str = option(
        "Disabled",
        "Whether `nbflow connections test` may open connections. Hidden means the same as Disabled.",
        choices=("Disabled", "Hidden", "Enabled"),
    )
    task_memory_limit: int = option(
        0,
        "Memory limit (address space, MiB) of a process that runs a task, a callback or a DAG file. 0: no limit.",
        minimum=0,
        airflow=NOT_AIRFLOW,
    )
    task_environment: tuple[str, ...] = option(
        (),
        "Names of additional environment variables that tasks get, comma-separated. Tasks do not see any others.",
        airflow=NOT_AIRFLOW,
    )
    execute_tasks_new_python_interpreter: bool = option(
        False, "Start each task in a new interpreter instead of forking a warm one: slower, but isolated."
    )
    fernet_key: str = option(
        "",
        "Fernet key(s) of stored secrets, comma-separated, newest first. Empty: {home}/fernet.key, created on demand.",
        sensitive=True,
    )
    sensitive_var_conn_names: tuple[str, ...] = option(
        (), "Additional words that mark the name of a variable or an extra as sensitive, comma-separated."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """The metastore."""

    sql_alchemy_conn: str = option(
        "sqlite:///{home}/nbflow.db",
        "SQLAlchemy URL of the metastore: SQLite, or postgresql+psycopg://user:password@host/db for several machines.",
        sensitive=True,
        airflow=NOT_AIRFLOW,
    )
    synchronous: str = option(
        "NORMAL",
        "SQLite only: NORMAL survives kill -9 of any process; FULL also survives a power cut, and is slower.",
        choices=("NORMAL", "FULL"),
        airflow=NOT_AIRFLOW,
    )
    busy_timeout_seconds: float = option(
        30.0, "SQLite only: seconds that a writer waits for the database lock.", minimum=0, airflow=NOT_AIRFLOW
    )
    idle_in_transaction_timeout_seconds: float = option(
        20.0,
        "Postgres only: seconds that a process may stand still inside a transaction before the server rolls it back, so"
        " that others get its locks (0: no limit). Less than the leases of runs and tasks, which they renew.",
        minimum=0,
        airflow=NOT_AIRFLOW,
    )
    lock_timeout_seconds: float = option(
        25.0,
        "Postgres only: seconds that a statement waits for a lock (0: no limit). More than"
        " idle_in_transaction_timeout_seconds, so that the process that stands still fails, not the others.",
        minimum=0,
        airflow=NOT_AIRFLOW,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """The scheduler loop and its leases."""

    catchup_by_default: bool = option(False, "Default of a DAG's catchup: whether missed intervals are run.")
    create_cron_data_intervals: bool = option(
        True,
        "Cron expressions and presets have data intervals (as in Airflow 2) instead of points in time (Airflow 3).",
    )
    scheduler_heartbeat_sec: float = option(5.0, "Seconds between heartbeats of a scheduler.", minimum=0.1)
    scheduler_health_check_threshold: float = option(
        30.0, "Seconds without a heartbeat after which a scheduler counts as dead.", minimum=1
    )
    task_instance_heartbeat_sec: float = option(5.0, "Seconds between heartbeats of a running task.", minimum=0.1)
    task_instance_heartbeat_timeout: float = option(
        60.0, "Seconds without a heartbeat after which a running task counts as lost.", minimum=1
    )
    idle_minutes: float = option(
        10.0,
        "Idle minutes after which a scheduler that a notebook started stops, unless an unpaused DAG has a schedule.",
        minimum=0,
        airflow=NOT_AIRFLOW,
    )
    use_job_schedule: bool = option(True, "Create scheduled runs. False: run only what is triggered or backfilled.")
    allow_trigger_in_future: bool = option(
        False, "Allow triggering a run with a logical date in the future; it starts at once."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DagProcessorSettings:
    """Finding and parsing DAG files."""

    parsing_processes: int = option(2, "Number of DAG files parsed in parallel.", minimum=1)
    refresh_interval: float = option(
        60.0,
        "Seconds between full scans of the DAGs folder (changes that the file system reports are parsed at once).",
        minimum=1,
        airflow=("DAG_PROCESSOR__REFRESH_INTERVAL", "SCHEDULER__DAG_DIR_LIST_INTERVAL"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """Logs of tasks and of nbflow."""

    base_log_folder: Path = option(
        Path("{home}/logs"), "Folder of log files.", airflow=("LOGGING__BASE_LOG_FOLDER", "CORE__BASE_LOG_FOLDER")
    )
    logging_level: str = option(
        "INFO", "Minimum level of logged messages.", choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    )
    max_log_bytes_per_try: int = option(
        16 * 1024 * 1024,
        "Maximum size of the log of one try, in bytes; the rest is dropped with a note.",
        minimum=1024,
        airflow=NOT_AIRFLOW,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorsSettings:
    """Defaults of operators."""

    default_owner: str = option("airflow", "Default owner of a task.")
    default_queue: str = option("default", "Default queue of a task.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookSettings:
    """Magics, and notebooks that run as tasks."""

    output_folder: Path = option(Path("{home}/notebooks"), "Folder of executed notebooks, one per run.")
    kernel_name: str = option("", "Kernel of notebooks that run as tasks. Empty: the kernel that the notebook names.")
    save_output: bool = option(
        True, "Save pictures in the notebook; false: text only. %config NbflowMagics.save_output overrides this."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """Simulation."""

    seed: int | None = option(
        None, "Random seed of simulated outcomes. Empty: tasks end as in their last successful run."
    )


class OptionRow(NamedTuple):
    """One row of ``nbflow config list``; ``value`` is text as in the environment, hidden if sensitive."""

    section: str
    key: str
    value: str
    source: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one ``NBFLOW_HOME``."""

    home: Path
    core: CoreSettings
    database: DatabaseSettings
    scheduler: SchedulerSettings
    dag_processor: DagProcessorSettings
    logging: LoggingSettings
    operators: OperatorsSettings
    notebook: NotebookSettings
    sim: SimSettings
    #: ``section.key`` -> source of the value, for options that are not at their default
    sources: Mapping[str, str]

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        home: Path | str | None = None,
        *,
        secret: Callable[[str], str | None] | None = None,
        cpu_count: int | None = None,
    ) -> Settings:
        """Read the settings of ``home`` (else ``environ["NBFLOW_HOME"]``, else ``~/nbflow``). Creates nothing.

        ``secret`` resolves the names of ``_SECRET`` variants. Raises ``ConfigError`` naming the place of the error.
        """
        root = find_home(environ, home)
        values = _from_file(root / FILE_NAME) | _from_airflow(environ) | _from_environ(environ)
        built: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for section, kind in SECTIONS.items():
            chosen: dict[str, Any] = {}
            for spec in fields(kind):
                raw = values.get((section, spec.name))
                if raw is not None:
                    sources[f"{section}.{spec.name}"] = raw.source
                    chosen[spec.name] = _expand(_parse(spec, raw.resolve(secret, environ), raw.source), root, environ)
                else:
                    chosen[spec.name] = _expand(spec.default, root, environ)
            built[section] = kind(**chosen)
        if built["core"].parallelism == 0:
            cores = cpu_count or os.cpu_count() or 1
            built["core"] = replace(built["core"], parallelism=max(4, 2 * cores))
        return cls(home=root, sources=MappingProxyType(sources), **built)

    def get(self, section: str, key: str) -> Any:
        """Return the value of an option. Raises ``ConfigError`` with the nearest name for an unknown option."""
        _find(section, key, where="this name")
        return getattr(getattr(self, section), key)

    def rows(self, *, show_secrets: bool = False) -> Iterator[OptionRow]:
        """Every option with its value and the value's source."""
        for section, kind in SECTIONS.items():
            for spec in fields(kind):
                value = to_text(getattr(getattr(self, section), spec.name))
                if spec.metadata["sensitive"] and value and not show_secrets:
                    value = HIDDEN
                source = self.sources.get(f"{section}.{spec.name}", "default")
                yield OptionRow(section, spec.name, value, source, spec.metadata["doc"])


SECTIONS: dict[str, type[Any]] = {
    "core": CoreSettings,
    "database": DatabaseSettings,
    "scheduler": SchedulerSettings,
    "dag_processor": DagProcessorSettings,
    "logging": LoggingSettings,
    "operators": OperatorsSettings,
    "notebook": NotebookSettings,
    "sim": SimSettings,
}


# ----------------------------------------------------------------------------------------------------- reading sources


SET_NBFLOW_HOME = "Set NBFLOW_HOME to a folder that nbflow can write to."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raw:
    """A value as read: its text (or TOML value), its variant, and its source."""

    value: Any
    source: str
    variant: str = ""  # "", "cmd" or "secret"

    def resolve(self, secret: Callable[[str], str | None] | None, environ: Mapping[str, str]) -> Any:
        if self.variant == "cmd":
            return _run(str(self.value), self.source, environ)
        if self.variant == "secret":
            value = secret(str(self.value)) if secret else None
            if value is None:
                raise ConfigError(f"{self.source}: no secrets backend has {self.value!r}.")
            return value
        return self.value


_Values = dict[tuple[str, str], _Raw]


def find_home(environ: Mapping[str, str], home: Path | str | None = None) -> Path:
    """Return the absolute path of the home folder; the argument wins over ``NBFLOW_HOME``, that over ``~/nbflow``."""
    chosen = str(home or environ.get("NBFLOW_HOME") or "~/nbflow")
    return Path(os.path.abspath(_expand_user(chosen, environ)))


def _expand_user(text: str, environ: Mapping[str, str]) -> str:
    if (text == "~" or text.startswith("~/")) and environ.get("HOME"):
        return environ["HOME"] + text[1:]
    return os.path.expanduser(text)


def _from_environ(environ: Mapping[str, str]) -> _Values:
    values: _Values = {}
    for name in sorted(environ, key=_by_precedence):
        if name.startswith(PREFIX):
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            spec, variant = _find(section, key, where=name)
            values[section, spec.name] = _Raw(value=environ[name], source=name, variant=variant)
    return values


def _from_airflow(environ: Mapping[str, str]) -> _Values:
    values: _Values = {}
    for section, kind in SECTIONS.items():
        for spec in fields(kind):
            spellings = spec.metadata["airflow"]
            if spellings is None:
                spellings = (f"{section}__{spec.name}".upper(),)
            for spelling in reversed(spellings):
                for variant in _variants(spec):
                    name = f"{AIRFLOW_PREFIX}{spelling}" + (f"_{variant.upper()}" if variant else "")
                    if name in environ:
                        values[section, spec.name] = _Raw(value=environ[name], source=name, variant=variant)
    return values


def _from_file(path: Path) -> _Values:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint=SET_NBFLOW_HOME) from None
    values: _Values = {}
    for section, content in document.items():
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: {section!r} is outside a [section].")
        for key in sorted(content, key=_by_precedence):
            spec, variant = _find(section, key, where=f"{path}, [{section}]")
            source = f"{path.name} [{section}] {key}"
            values[section, spec.name] = _Raw(value=content[key], source=source, variant=variant)
    return values


def _by_precedence(name: str) -> int:
    """Sort key: of one option's variants, the one with the highest precedence is read last: ``_secret``, ``_cmd``,
    plain."""
    lowered = name.lower()
    return 0 if lowered.endswith("_secret") else 1 if lowered.endswith("_cmd") else 2


def _variants(spec: Field[Any]) -> tuple[str, ...]:
    return ("secret", "cmd", "") if spec.metadata["sensitive"] else ("",)


def _find(section: str, key: str, *, where: str) -> tuple[Field[Any], str]:
    """Return the field of an option and the variant that ``key`` spells, or raise with the nearest name."""
    kind = SECTIONS.get(section)
    if kind is None:
        raise ConfigError(f"{where}: there is no section [{section}].{did_you_mean(section, SECTIONS)}")
    known = {spec.name: spec for spec in fields(kind)}
    if key in known:
        return known[key], ""
    base, _, variant = key.rpartition("_")
    if base in known and variant in _variants(known[base]):
        return known[base], variant
    other_sections = [other for other, kind in SECTIONS.items() if key in {spec.name for spec in fields(kind)}]
    hint = f" It belongs in [{other_sections[0]}]." if other_sections else did_you_mean(key, known)
    raise ConfigError(f"{where}: [{section}] has no option {key!r}.{hint}")


def _run(command: str, source: str, environ: Mapping[str, str]) -> str:
    import subprocess

    try:
        process = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, env=dict(environ)
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{source}: the command did not run: {type(error).__name__}.") from None
    if process.returncode != 0:  # the output may hold the secret, so the message leaves it out
        raise ConfigError(f"{source}: the command exited with code {process.returncode}.")
    return process.stdout.strip("\n")


# --------------------------------------------------------------------------------------------------------------- values


def _parse_bool(value: Any) -> bool:
    words = {"true": True, "t": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "f": False, "0": False, "no": False, "off": False}
    return value if isinstance(value, bool) else words[str(value).strip().lower()]


def _parse_int(value: Any) -> int:
    if isinstance(value, (bool, float)):
        raise ValueError(value)
    return int(value)


def _parse_float(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or number != number or number in (float("inf"), float("-inf")):
        raise ValueError(value)
    return number


def _parse_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _parse_names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else [_parse_text(part) for part in value]
    return tuple(part.strip() for part in parts if part.strip())


#: annotation of a field -> (expected value, parser)
_PARSERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "bool": ("true or false", _parse_bool),
    "int": ("a whole number", _parse_int),
    "int | None": ("a whole number, or nothing", lambda value: None if value == "" else _parse_int(value)),
    "float": ("a number", _parse_float),
    "float | None": ("a number, or nothing", lambda value: None if value == "" else _parse_float(value)),
    "str": ("text", _parse_text),
    "Path": ("a path", lambda value: Path(_parse_text(value))),
    "tuple[str, ...]": ("names, comma-separated", _parse_names),
}


def _parse(spec: Field[Any], raw: Any, source: str) -> Any:
    expects, parse = _PARSERS[str(spec.type)]
    shown = "the value" if spec.metadata["sensitive"] else repr(raw)
    try:
        value = parse(raw)
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{source}: expected {expects}, got {shown}.") from None
    choices, minimum = spec.metadata["choices"], spec.metadata["minimum"]
    if choices and value not in choices:
        by_case = {choice.lower(): choice for choice in choices}
        if str(value).lower() not in by_case:
            nearest = did_you_mean(value, choices)
            raise ConfigError(f"{source}: expected one of {', '.join(choices)}, got {shown}.{nearest}")
        value = by_case[str(value).lower()]
    if minimum is not None and value is not None and value < minimum:
        raise ConfigError(f"{source}: expected at least {minimum:g}, got {shown}.")
    return value


def _expand(value: Any, home: Path, environ: Mapping[str, str]) -> Any:
    if isinstance(value, Path):
        text = _expand_user(str(value).replace("{home}", str(home)), environ)
        return Path(os.path.abspath(home / text))
    if isinstance(value, str):
        return value.replace("{home}", str(home))
    return value


def to_text(value: Any) -> str:
    """Return a value as it is written in the environment: ``true``, ``a,b``, empty text for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# ---------------------------------------------------------------------------------------------------------- a new home


def default_toml() -> str:
    """Return the text of a new ``nbflow.toml``: every option with its help, its default commented out."""
    lines = [
        "# Settings of nbflow. Uncomment what you change; NBFLOW__SECTION__KEY in the environment overrides it.",
        "",
    ]
    for section, kind in SECTIONS.items():
        lines += [f"[{section}]", ""]
        for spec in fields(kind):
            lines.append(f"# {spec.metadata['doc']}")
            if spec.metadata["choices"]:
                lines.append(f"# One of: {', '.join(spec.metadata['choices'])}")
            lines += [f"# {spec.name} = {_to_toml(spec.default)}", ""]
    return "\n".join(lines)


def _to_toml(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return to_text(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_to_toml(part) for part in value) + "]"
    return '"' + to_text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def prepare_home(settings: Settings) -> None:
    """Create the home (0700), its folders and a commented ``nbflow.toml`` (0600); existing files stay unchanged.

    Raises ConfigError naming the folder that cannot be created."""
    folders = {"": settings.home, "core.dags_folder": settings.core.dags_folder}
    folders["logging.base_log_folder"] = settings.logging.base_log_folder
    for option, folder in folders.items():
        hint = f"It comes from {settings.sources[option]}." if option in settings.sources else SET_NBFLOW_HOME
        try:
            if option == "core.dags_folder" and option in settings.sources and not folder.exists():
                log.warning(
                    "Created the DAGs folder %s, which did not exist. %s", folder, hint
                )  # its name may be misspelt
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The folder {folder} cannot be created: {error.strerror}.", hint=hint) from None
    try:
        write_private(settings.home / FILE_NAME, default_toml().encode())
    except OSError as error:
        raise ConfigError(f"{settings.home} is not writable: {error.strerror}.", hint=SET_NBFLOW_HOME) from None


def make_private(folder: str | os.PathLike[str]) -> None:
    """Create a folder and its missing parents with mode 0700 (``os.makedirs`` applies a mode only to the last one)."""
    if not os.path.isdir(folder):
        make_private(os.path.dirname(os.path.abspath(folder)))
        with contextlib.suppress(FileExistsError):  # another process has created it meanwhile
            os.mkdir(folder, mode=0o700)


def write_private(path: Path, content: bytes) -> bool:
    """Create ``path`` with mode 0600 and ``content``, whole or not at all; return False if it exists.

    The content is written to a temporary file, which is then linked to ``path``: a reader never sees a part of it, and
    of two concurrent processes only one creates the file.
    """
    if path.exists():
        return False
    import tempfile

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(name)
    return True
