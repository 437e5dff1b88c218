"""The composition root: creates the services from the settings. Only this module chooses concrete classes.

``App.open()`` reads the settings and opens the metastore, which it creates in a new home. All other objects are created
at their first use. A surface has one App and calls its services; no module of nbflow has a global App.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.clock import Clock, SystemClock
from nbflow.config import Settings, prepare_home
from nbflow.core.timetables import DataInterval, TimeRestriction, timetable_from_spec
from nbflow.errors import DagNotFound
from nbflow.execution.logs import LogFolder
from nbflow.secrets_backends import EnvironmentBackend, SecretsChain, providing
from nbflow.secrets_masker import Masker
from nbflow.store import open_store
from nbflow.store.secrets_backend import StoreProvider

if TYPE_CHECKING:
    from nbflow.authoring.compile import CompileOptions
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.workload import Workload
    from nbflow.core.plan import Callback
    from nbflow.core.snapshot import Run, RunKey
    from nbflow.execution.executors.base import Executor
    from nbflow.execution.task_api import TaskApi
    from nbflow.services.custom_timetable_runs import TimetableClient
    from nbflow.services.dag_processor import DagProcessor
    from nbflow.services.operations import Operations
    from nbflow.services.scheduler import Scheduler
    from nbflow.sources.version_loading import LoadedVersion, LoadingOptions
    from nbflow.store.base import DagVersion, Store


@dataclass(eq=False)
class App:
    """One NBFLOW_HOME, opened. Close it when done; also a context manager."""

    settings: Settings
    store: Store
    clock: Clock = field(default_factory=SystemClock)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @classmethod
    def open(
        cls,
        *,
        home: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        migrate: bool = True,
    ) -> App:
        """Open ``home`` (default: NBFLOW_HOME, else ``~/nbflow``). A missing home is created, private to its owner.
        With ``migrate`` an SQLite metastore is migrated to this version; a PostgreSQL metastore is only checked,
        because other machines use it (``nbflow db migrate`` migrates it)."""
        environ = os.environ if environ is None else environ
        settings = settings or Settings.load(environ, home)
        prepare_home(settings)
        url, store = settings.database.sql_alchemy_conn, _open(settings)
        if migrate and not url.startswith("postgres"):
            store.migrate()
        elif migrate:
            store.check()
        return cls(settings=settings, store=store, clock=clock or SystemClock(), environ=environ)

    def close(self) -> None:
        """Close the metastore."""
        self.store.close()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- services

    def operations(self, actor: str = "user") -> Operations:
        """The operations on runs and DAGs; ``actor`` is recorded in the audit log."""
        from nbflow.services.operations import Operations

        return Operations(self.store, self.clock, self.settings, actor=actor, timetable_client=self.timetable_client)

    def timetable_client(self) -> TimetableClient:
        """The client that computes the runs of custom timetables, in subprocesses."""
        from nbflow.services.custom_timetable_runs import TimetableClient
        from nbflow.services.subprocess_jobs import SubprocessJobs

        core = self.settings.core
        return TimetableClient(
            lambda: SubprocessJobs(
                environment=self._job_environment(),
                handle_request=self.task_api.handle_parse_request,
                sensitive_names=self.settings.core.sensitive_var_conn_names,
            ),
            loading=self.loading_options(),
            seconds=core.dagbag_import_timeout,
        )

    def _job_environment(self) -> dict[str, str]:
        from nbflow.execution.environment_allowlist import minimal_environment

        environment = minimal_environment(self.environ, self.settings.core.task_environment)
        return {**environment, "NBFLOW_HOME": str(self.settings.home)}

    def scheduler(
        self,
        *,
        executor: Executor | None = None,
        only: Collection[RunKey] | None = None,
        job_id: str | None = None,
        on_callbacks: Callable[[], None] = lambda: None,
        callback_handler: Callable[[Callback], None] | None = None,
    ) -> Scheduler:
        """A scheduler with ``executor`` (default: the configured executor). ``on_callbacks`` is called after callbacks
        were stored; a DAG processor runs them (``DagProcessor.notify_callbacks``). With ``callback_handler``, callbacks
        are not stored: it is called with each, after the state changes that cause them were stored."""
        from nbflow.services.scheduler import Scheduler

        job_id = job_id or self.new_job_id("scheduler")
        return Scheduler(
            self.store,
            executor or self.executor(job_id),
            self.clock,
            self.settings,
            job_id=job_id,
            only=only,
            on_callbacks=on_callbacks,
            callback_handler=callback_handler,
        )

    def new_job_id(self, kind: str) -> str:
        """A unique name of this process, for leases and the history."""
        return f"{kind}@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"

    def executor(self, owner: str) -> Executor:
        """The configured executor."""
        if self.settings.core.executor == "SequentialExecutor":
            return self.sequential_executor(owner)
        return self.local_executor(owner)

    def sequential_executor(
        self, owner: str, *, dags: Mapping[int, DAG] | None = None, announce: bool = False
    ) -> Executor:
        """An executor that runs one try at a time in this process. ``dags``: version number -> DAG that is already
        loaded; other versions are loaded from their stored source. ``announce``: store the start of a try before its
        code runs."""
        from nbflow.execution.executors.sequential import SequentialExecutor
        from nbflow.execution.task_runner import Limits

        def dag_of(dag_id: str, version: int) -> DAG:
            return dags[version] if dags and version in dags else self._load(dag_id, version)

        core = self.settings.core
        limits = Limits(max_map_length=core.max_map_length, max_field_characters=core.max_templated_field_length)
        return SequentialExecutor(
            self.task_api, dag_of=dag_of, owner=owner, now=self.clock.now, limits=limits, announce=announce
        )

    def _load(self, dag_id: str, number: int) -> DAG:
        version = self.store.version(dag_id, number)
        if version is None:
            raise DagNotFound(f"DAG {dag_id!r} has no version {number}.")
        loaded = self.load_version(version)
        if loaded.dag is None:
            raise DagNotFound(f"Version {number} of DAG {dag_id!r} cannot be loaded: {loaded.error}.")
        return loaded.dag

    def load_version(self, version: DagVersion, *, keep_imports: bool = False) -> LoadedVersion:
        """Run the source of a stored version in this process."""
        from nbflow.sources.version_loading import VersionSource, load_version

        return load_version(VersionSource.of(version, self.loading_options()), keep_imports=keep_imports)

    def local_executor(self, owner: str) -> Executor:
        """An executor that runs tries in supervised processes on this machine."""
        from nbflow.execution.executors.local import LocalExecutor
        from nbflow.execution.fork_server_pool import ProcessPoolOptions
        from nbflow.execution.supervisor import SupervisorOptions

        core, scheduler = self.settings.core, self.settings.scheduler
        process_pool = ProcessPoolOptions(
            environment=self._job_environment(),
            spare_children=min(core.parallelism, 4),
            load_seconds=core.dagbag_import_timeout,
            reload_every_try=core.execute_tasks_new_python_interpreter,
        )
        options = SupervisorOptions(
            owner=owner,
            logs=self.logs,
            process_pool=process_pool,
            lease_seconds=scheduler.task_instance_heartbeat_timeout,
            heartbeat_seconds=scheduler.task_instance_heartbeat_sec,
            grace_seconds=core.killed_task_cleanup_time,
            limits={
                "max_map_length": core.max_map_length,
                "max_field_characters": core.max_templated_field_length,
                "callback_seconds": core.callback_timeout,
                "logging_level": self.settings.logging.logging_level,
            },
            loading=self.loading_options(),
            memory_limit_bytes=core.task_memory_limit * 2**20 or None,
        )
        return LocalExecutor(
            options,
            self.task_api,
            versions=self.store.version,
            parallelism=core.parallelism,
            now=self.clock.now,
        )

    def processor(self, on_change: Callable[[], None] = lambda: None) -> DagProcessor:
        """A DAG processor, which watches and parses the DAGs folder in its own thread with its own store connection."""
        from nbflow.services.dag_processor import DagProcessor

        return DagProcessor(
            open_store=self._open_store,
            settings=self.settings,
            clock=self.clock,
            loading=self.loading_options(),
            environment=self._job_environment(),
            task_api_of=lambda store: replace(self.task_api, store=store, secrets=self._secrets_of(store)),
            on_change=on_change,
        )

    def _open_store(self) -> Store:
        return _open(self.settings)

    @property
    def logs(self) -> LogFolder:
        """The folder of the logs of tries."""
        return LogFolder(self.settings.logging.base_log_folder, self.settings.logging.max_log_bytes_per_try)

    # --- the task API

    @cached_property
    def secrets(self) -> SecretsChain:
        """Connections and variables: the environment first, then the metastore."""
        return self._secrets_of(self.store)

    def _secrets_of(self, store: Store) -> SecretsChain:
        metastore = StoreProvider(store, self.clock)
        return SecretsChain([EnvironmentBackend(self.environ), metastore], writer=metastore)

    @contextmanager
    def providing_secrets(self) -> Iterator[None]:
        """Inside the block, ``Variable`` and hooks in this process use the connections and variables of this App."""
        with providing(SecretsChain([self.secrets], writer=self.secrets, masker=self._given)):
            yield

    @cached_property
    def _given(self) -> Masker:
        """Masks the secrets that this process has given to code outside of tries, such as DAG files that it loads."""
        return Masker(sensitive_names=self.settings.core.sensitive_var_conn_names)

    @cached_property
    def task_api(self) -> TaskApi:
        """Handles the requests of running tasks."""
        from nbflow.execution.task_api import TaskApi

        return TaskApi(
            store=self.store,
            secrets=self.secrets,
            trigger_dag=self._trigger_dag,
            next_interval=self._next_interval,
            now=self.clock.now,
            max_xcom_bytes=self.settings.core.max_xcom_bytes,
            sensitive_names=self.settings.core.sensitive_var_conn_names,
            given=self._given,
        )

    def _trigger_dag(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
        actor: str = "task",
    ) -> Run:
        return self.operations(actor).trigger_or_reset(
            dag_id, run_id=run_id, logical_date=logical_date, conf=conf, reset=reset
        )

    def _next_interval(self, workload: Workload, moment: datetime) -> tuple[datetime, datetime] | None:
        version = self.store.version(workload.run.dag_id, workload.version)
        if version is None:
            return None
        interval = DataInterval(moment, moment)
        info = timetable_from_spec(version.spec.schedule).next_run(
            interval, TimeRestriction(None, None, True), self.clock.now()
        )
        return (info.data_interval.start, info.data_interval.end) if info else None

    def loading_options(self) -> LoadingOptions:
        """The options for loading the DAGs of this home."""
        from nbflow.sources.version_loading import LoadingOptions

        return LoadingOptions(
            compile=self.compile_options(),
            dags_folder=str(self.settings.core.dags_folder),
            versions_folder=str(self.settings.home / "versions"),
        )

    def compile_options(self) -> CompileOptions:
        """The settings that apply when a DAG does not pass an argument."""
        from nbflow.authoring.compile import CompileOptions

        core, scheduler, operators = self.settings.core, self.settings.scheduler, self.settings.operators
        return CompileOptions(
            max_active_tasks=core.max_active_tasks_per_dag,
            max_active_runs=core.max_active_runs_per_dag,
            catchup=scheduler.catchup_by_default,
            create_cron_data_intervals=scheduler.create_cron_data_intervals,
            timezone=core.default_timezone,
            retries=core.default_task_retries,
            retry_delay=core.default_task_retry_delay,
            execution_timeout=core.default_task_execution_timeout,
            weight_rule=core.default_task_weight_rule,
            owner=operators.default_owner,
            queue=operators.default_queue,
        )


def _open(settings: Settings) -> Store:
    database = settings.database
    return open_store(
        database.sql_alchemy_conn,
        synchronous=database.synchronous,
        busy_timeout=database.busy_timeout_seconds,
        lock_timeout=database.lock_timeout_seconds,
        idle_timeout=database.idle_in_transaction_timeout_seconds,
        fernet=_LazySecretBox(settings),
    )


class _LazySecretBox:
    """Encrypts with the home's key, which is read (or created) when the first secret is written or read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _box(self) -> Any:
        from nbflow.secret_box import SecretBox

        return SecretBox.of(self._settings)

    def encrypt(self, text: str) -> str:
        return str(self._box.encrypt(text))

    def decrypt(self, stored: str) -> str:
        return str(self._box.decrypt(stored))


def test_dag(dag: DAG, **kwargs: Any) -> Run:
    """Run a DAG in this process; see :func:`nbflow.services.dag_test.run_test`. Without ``app=``, the run is stored in
    the metastore of NBFLOW_HOME."""
    from nbflow.services.dag_test import run_test

    if kwargs.get("app") is not None:
        return run_test(dag, **kwargs)
    with App.open() as app:
        return run_test(dag, **{**kwargs, "app": app})


test_dag.__test__ = False  # type: ignore[attr-defined]
