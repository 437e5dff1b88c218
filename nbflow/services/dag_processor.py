"""The DAG processor: keeps the metastore's DAGs in sync with the files in the DAGs folder.

It watches the folder, parses changed files (each in a subprocess, with a time limit), and stores the results:

================================  ===================================================================================
a new or changed DAG              becomes a version; the schedule follows it, its next run is computed again
a file that cannot be imported    its import errors are stored with file, line and message; its DAGs do not change
a DAG missing from its file       becomes stale: it is no longer scheduled; its history and active runs remain
a deleted file                    all its DAGs become stale; its import errors are deleted
one dag_id in two files           the first file defines the DAG; the other gets an import error that names both
================================  ===================================================================================

A file is also parsed again after a change of a module that it imported from the folder.

The processor runs in a thread of the scheduler's process, with its own store connection, and wakes the scheduler after
changes. watchfiles reports changes of the file system; a periodic full scan finds changes that it missed. After a store
error (a full disk, a locked database, a restart) the processor waits and scans every file again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from watchfiles import watch

from nbflow.clock import Clock
from nbflow.config import Settings
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DagRunInfo, DataInterval, RecordedTimetable
from nbflow.errors import StoreError
from nbflow.execution.logs import LogFolder
from nbflow.execution.task_api import TaskApi
from nbflow.services.callbacks import CallbackRunner
from nbflow.services.dag_registration import register_scheduled
from nbflow.services.file_parsing import ParsedDag, Parser, ParseResult
from nbflow.services.subprocess_jobs import SubprocessJobs
from nbflow.sources.discovery import EXAMPLES, configured_dag_files, has_links
from nbflow.sources.loading import DUPLICATE
from nbflow.sources.version_files import read_text
from nbflow.sources.version_loading import LoadingOptions
from nbflow.store.base import DagImportError, DagVersion, Store

log = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""(modification time in ns, size): a file with the same stamp is not parsed again."""

Identity = tuple[int, int]
"""(device, inode) of a folder."""
FOLDER_CHECK_SECONDS = 1.0
"""Interval of the check whether the path still is the watched folder."""
LINK_SCAN_SECONDS = 1.0
"""Interval of full scans if symbolic links lead out of the folder."""
RETRY_SECONDS = 0.5
"""Delay of the retry after a store error."""


class DagProcessor:
    """See the head of this module. Created by :meth:`nbflow.app.App.processor`."""

    def __init__(
        self,
        *,
        open_store: Callable[[], Store],
        settings: Settings,
        clock: Clock,
        loading: LoadingOptions,
        environment: Mapping[str, str],
        task_api_of: Callable[[Store], TaskApi],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings, self.clock, self.on_change = settings, clock, on_change
        self._open_store, self._loading, self._environment = open_store, loading, environment
        self._task_api_of = task_api_of
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._stop = threading.Event()
        self._callbacks = threading.Event()
        self._callbacks.set()
        self._condition = threading.Condition()
        """Guards the attributes below."""
        self._scans_requested = 0
        self._scans_done = 0
        self._wake_read, self._wake_write = socket.socketpair()
        self._failure: BaseException | None = None

    # --- from any thread

    def start(self) -> None:
        """Start watching and parsing."""
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._thread = threading.Thread(target=self._main, name="nbflow-dag-processor", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="nbflow-watch", daemon=True)
        self._thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """Stop the threads and all subprocesses."""
        self._stop.set()
        self._wake()
        for thread in (self._thread, self._watcher):
            if thread is not None:
                thread.join()
        self._wake_read.close()
        self._wake_write.close()

    def sync(self, timeout: float | None = None) -> bool:
        """Scan the folder now. Returns True when every file has been parsed and stored, False after ``timeout``
        seconds. Raises the error that ended the processor's thread."""
        with self._condition:
            self._scans_requested += 1
            requested = self._scans_requested
        self._wake()
        with self._condition:
            done = self._condition.wait_for(lambda: self._scans_done >= requested or self._failure is not None, timeout)
        self.check()
        return done

    def notify_callbacks(self) -> None:
        """Claim and run the callbacks that were stored."""
        self._callbacks.set()
        self._wake()

    def check(self) -> None:
        """Raise the error that ended the processor's thread, if there is one."""
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b".")

    # --- the watcher's thread

    def _watch(self) -> None:
        folder = self.settings.core.dags_folder
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # at INFO it logs a line per change
        try:
            while not self._stop.is_set():
                self._watch_folder(folder, _identity(folder))
        except Exception as error:  # e.g. the limit of inotify watches is reached: full scans find the changes
            seconds = self.settings.dag_processor.refresh_interval
            log.warning("Cannot watch %s (%s); scanning it every %g s instead.", folder, error, seconds)

    def _watch_folder(self, folder: Path, identity: Identity | None) -> None:
        """Request a scan after each change, while the path still is this folder. After the folder was deleted, or its
        link was changed, inotify continues to watch the old folder and reports no changes of a new one at that path."""
        if identity is None:
            self._stop.wait(FOLDER_CHECK_SECONDS)
            return
        self._request_scan()
        options: dict[str, Any] = {"rust_timeout": int(FOLDER_CHECK_SECONDS * 1000), "yield_on_timeout": True}
        for changes in watch(folder, stop_event=self._stop, debounce=200, step=50, raise_interrupt=False, **options):
            if changes:
                self._request_scan()
            if _identity(folder) != identity:
                self._request_scan()
                return

    def _request_scan(self) -> None:
        with self._condition:
            self._scans_requested += 1
        self._wake()

    # --- the processor's thread

    def _main(self) -> None:
        store = self._open_store()
        try:
            _ProcessorLoop(self, store).run()
        except BaseException as failure:
            log.exception("The DAG processor has failed.")
            with self._condition:
                self._failure = failure
                self._condition.notify_all()
        finally:
            store.close()


class _ProcessorLoop:
    """The loop and the state of the processor's thread."""

    def __init__(self, processor: DagProcessor, store: Store) -> None:
        self.processor, self.store, self.clock = processor, store, processor.clock
        settings = processor.settings
        self.folder = Path(settings.core.dags_folder)
        self.subprocess_jobs = SubprocessJobs(
            environment=processor._environment,
            handle_request=processor._task_api_of(store).handle_parse_request,
            log=log.warning,
            memory_limit_bytes=settings.core.task_memory_limit * 2**20 or None,
            sensitive_names=settings.core.sensitive_var_conn_names,
        )
        self.parser = Parser(
            self.subprocess_jobs,
            options=processor._loading.compile,
            folder=self.folder,
            seconds=settings.core.dagbag_import_timeout,
            now=self.clock.now,
        )
        self.callbacks = CallbackRunner(
            store,
            self.subprocess_jobs,
            owner=f"callbacks:{os.getpid()}",
            logs=LogFolder(settings.logging.base_log_folder),
            loading=processor._loading,
            now=self.clock.now,
            seconds=settings.core.callback_timeout,
        )
        self.has_links = False
        """Whether a file is outside the folder (by a symbolic link), where it is not watched."""
        self.missing_modules: set[str] = set()
        """Files that failed to import a module; they are parsed again when a new file appears."""
        self.stamps: dict[str, Stamp] = {}
        self.queue: deque[str] = deque()
        self.parsing: set[str] = set()
        self.changed_while_parsing: set[str] = set()
        self.defining_file: dict[str, str] = {}
        """dag_id -> the file that defines it."""
        self.last_scan = -1
        """Number of the last scan, as counted in ``_scans_requested``."""
        self.scanned_at: float | None = None
        """Time of the last scan (monotonic clock); None: its results were not stored."""
        self.modules: dict[str, dict[str, Stamp | None]] = {}
        """file -> the modules that it imported from the folder, with their stamps at that time."""
        self.records: dict[str, tuple[DagRunInfo, bool]] = {}
        """DAG with a custom timetable -> the middle one of its recorded runs, and whether the DAG has catchup."""

    def run(self) -> None:
        processor, loop = self.processor, self.subprocess_jobs.loop
        self.subprocess_jobs.start()
        loop.add_reader(processor._wake_read, self._drain_wakes)
        try:
            self._handle_store_errors(self._read_defining_files)
            while not processor._stop.is_set():
                self._handle_store_errors(self._run_once)
        finally:
            loop.remove_reader(processor._wake_read)
            self.subprocess_jobs.stop()

    def _handle_store_errors(self, action: Callable[[], None]) -> None:
        """Call ``action``. After a store error, log it, wait a little and clear all stamps, so that every file is
        parsed and stored again."""
        try:
            action()
        except StoreError as error:
            log.error("Cannot store parsed DAGs; retrying: %s", error)
            self.stamps.clear()
            self.scanned_at = None
            self.processor._callbacks.set()
            self.processor._stop.wait(RETRY_SECONDS)

    def _read_defining_files(self) -> None:
        self.defining_file = {row.dag_id: row.fileloc for row in self.store.dags()}

    def _run_once(self) -> None:
        processor, interval = self.processor, self.processor.settings.dag_processor.refresh_interval
        interval = min(interval, LINK_SCAN_SECONDS) if self.has_links else interval
        now = time.monotonic()
        requested = self.last_scan != processor._scans_requested
        if self.scanned_at is None or requested or now >= self.scanned_at + interval:
            self.last_scan = processor._scans_requested
            self._scan()
            self.scanned_at = now
            processor._callbacks.set()  # the lease of a callback that did not finish may have expired
        self._start_parsing()
        if processor._callbacks.is_set() and not self.callbacks.busy:
            processor._callbacks.clear()
            if self.callbacks.claim():
                processor._callbacks.set()
        if not self.queue and not self.parsing and not self.callbacks.running:
            with processor._condition:
                processor._scans_done = self.last_scan
                processor._condition.notify_all()
        self.subprocess_jobs.loop.run_once(interval)

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.processor._wake_read.recv(4096):
                pass

    # --- finding changed files

    def _scan(self) -> None:
        """Find new, changed and deleted files."""
        paths = configured_dag_files(self.processor.settings)
        stamps = {path: _stamp(path) for path in paths}
        existing = {path: stamp for path, stamp in stamps.items() if stamp is not None}
        self.has_links = has_links(self.folder, paths)
        if not existing.keys() <= self.stamps.keys():
            for path in self.missing_modules & existing.keys():
                self._enqueue(path)
        for path, stamp in existing.items():
            modules = self.modules.get(path, {})
            if self.stamps.get(path) != stamp or any(_stamp(module) != old for module, old in modules.items()):
                self.stamps[path] = stamp
                self.modules.pop(path, None)
                self._enqueue(path)
        for dag_id, record in list(self.records.items()):
            if self.defining_file.get(dag_id) in existing and self._needs_new_record(dag_id, *record):
                del self.records[dag_id]  # set again after the parse
                self._enqueue(self.defining_file[dag_id])
        deleted = [path for path in self.stamps if path not in existing]
        deleted += [path for path in self._known_files() if path not in existing and path not in deleted]
        for path in deleted:
            self.missing_modules.discard(path)
            self.stamps.pop(path, None)
            self.modules.pop(path, None)
            self._remove_file(path)

    def _needs_new_record(self, dag_id: str, middle: DagRunInfo, catchup: bool) -> bool:
        """Whether half of the recorded runs of a custom timetable are used: half of them have been created; or, without
        catchup, half of them are past and none has been created, so that the record begins too early."""
        last = self._last_interval(dag_id)
        if last is not None:
            return last >= middle.data_interval
        return not catchup and middle.run_after <= self.clock.now()

    def _last_interval(self, dag_id: str) -> DataInterval | None:
        """Data interval of the last scheduled run."""
        run = self.store.latest_run(dag_id)
        if run is None or run.data_interval_start is None or run.data_interval_end is None:
            return None
        return DataInterval(run.data_interval_start, run.data_interval_end)

    def _enqueue(self, path: str) -> None:
        if path in self.parsing:
            self.changed_while_parsing.add(path)
        elif path not in self.queue:
            self.queue.append(path)

    def _known_files(self) -> set[str]:
        folders = (str(self.folder) + os.sep, str(EXAMPLES) + os.sep)
        files = set(self.defining_file.values()) | {error.fileloc for error in self.store.import_errors()}
        return {path for path in files if path.startswith(folders)}

    def _remove_file(self, path: str) -> None:
        dag_ids = [dag_id for dag_id, file in self.defining_file.items() if file == path]
        now = self.clock.now()
        self.store.put_import_errors(path, [], now=now)
        if dag_ids:
            self.store.set_stale(dag_ids, True, now=now)
            for dag_id in dag_ids:
                del self.defining_file[dag_id]
            self._retry_duplicates(dag_ids)
            self.processor.on_change()

    def _retry_duplicates(self, dag_ids: list[str]) -> None:
        """Parse again the files whose DAGs were rejected as duplicates of these DAGs, which are now deleted."""
        for error in self.store.import_errors():
            if any(repr(dag_id) in error.error for dag_id in dag_ids) and error.fileloc in self.stamps:
                self._enqueue(error.fileloc)

    def _start_parsing(self) -> None:
        while self.queue and len(self.parsing) < self.processor.settings.dag_processor.parsing_processes:
            path = self.queue.popleft()
            self.parsing.add(path)
            dag_ids = [dag_id for dag_id, file in self.defining_file.items() if file == path]
            intervals = {dag_id: self._last_interval(dag_id) for dag_id in dag_ids}
            last = {
                dag_id: [moment.isoformat() for moment in interval]
                for dag_id, interval in intervals.items()
                if interval is not None
            }
            self.parser.parse(
                path, lambda result: self._handle_store_errors(partial(self._store_result, result)), last=last
            )

    # --- storing results

    def _store_result(self, result: ParseResult) -> None:
        self.parsing.discard(result.path)
        if result.path in self.changed_while_parsing:
            self.changed_while_parsing.discard(result.path)
            self.queue.append(result.path)
            return
        if result.path not in self.stamps:
            return  # deleted while it was parsed
        self._record_modules(result)
        now = self.clock.now()
        import_errors = list(result.import_errors)
        registered: list[str] = []
        for dag in result.dags:
            duplicate = self._duplicate_error(dag, result.path, now)
            if duplicate is not None:
                import_errors.append(duplicate)
                continue
            self._register(result, dag, now)
            registered.append(dag.spec.dag_id)
        if not result.import_errors:
            removed = [d for d, file in self.defining_file.items() if file == result.path and d not in registered]
            if removed:
                self.store.set_stale(removed, True, now=now)
                for dag_id in removed:
                    del self.defining_file[dag_id]
                self._retry_duplicates(removed)
        self.store.put_import_errors(result.path, import_errors, now=now)
        self.processor.on_change()

    def _record_modules(self, result: ParseResult) -> None:
        """Record the modules that the file imported, and whether it failed to import one."""
        is_in_folder = os.path.realpath(result.path).startswith(os.path.realpath(self.folder) + os.sep)
        root = self.folder if is_in_folder else os.path.dirname(result.path)  # the same root as during the parse
        modules = {os.path.join(root, name): text for name, text in list(result.files.items())[1:]}
        self.modules[result.path] = {path: _stamp(path) for path in modules}
        if any(_differs(path, text) for path, text in modules.items()):
            self._enqueue(result.path)  # edited between the import and the stamp
        is_missing = any(
            error.error.startswith(("ModuleNotFoundError", "ImportError")) for error in result.import_errors
        )
        (self.missing_modules.add if is_missing else self.missing_modules.discard)(result.path)

    def _duplicate_error(self, dag: ParsedDag, path: str, now: datetime) -> DagImportError | None:
        file = self.defining_file.get(dag.spec.dag_id)
        if file is None or file == path or file not in self.stamps:
            return None
        error = f"{DUPLICATE}: dag_id {dag.spec.dag_id!r} of {path} is already defined in {file}. Rename one of them."
        return DagImportError(fileloc=path, line=None, error=error, cell=dag.cell, at=now)

    def _register(self, result: ParseResult, dag: ParsedDag, now: datetime) -> None:
        spec = dag.spec
        version = DagVersion(
            dag_id=spec.dag_id,
            spec=spec,
            fileloc=result.path,
            cell=dag.cell,
            files=result.files,
            origin="example" if result.path.startswith(str(EXAMPLES)) else "file",
        )
        register_scheduled(self.store, version, self.processor.settings, now)
        self.defining_file[spec.dag_id] = result.path
        self._update_record(spec, now)

    def _update_record(self, spec: DagSpec, now: datetime) -> None:
        self.records.pop(spec.dag_id, None)
        if spec.schedule.get("kind") != "custom":
            return
        runs = RecordedTimetable(spec.schedule).runs
        middle = runs[len(runs) // 2] if len(runs) > 1 else None
        # If the middle run was already past when it was computed, another parse would return the same, at each scan.
        if middle is not None and (spec.catchup or middle.run_after > now or self._last_interval(spec.dag_id)):
            self.records[spec.dag_id] = middle, spec.catchup


def _differs(path: str, text: str) -> bool:
    """Whether the file now has another text. False if it cannot be read: its import will report the error."""
    try:
        return read_text(path) != text
    except (OSError, SyntaxError, ValueError):
        return False


def _identity(folder: Path) -> Identity | None:
    """(device, inode) of the folder at this path; None: there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _stamp(path: str) -> Stamp | None:
    """The file's stamp; None: it does not exist (any more)."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size)
