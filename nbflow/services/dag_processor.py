"""The DAG processor: keeps the metastore's DAGs like the files in the DAGs folder.

It watches the folder, parses what changed (each file in a process of its own, with a time limit), and stores it:

===============================  ====================================================================================
a new or changed DAG             becomes a version; the schedule follows it, its next run is computed anew
a file that does not import      its faults are stored with file, line and gist; its DAGs stay as they were
a DAG that its file lost         is stale: nothing is scheduled any more, its history and active runs stay
a deleted file                   the same for all its DAGs; its faults are forgotten
one dag_id in two files          the file that had it first keeps it; the other gets a fault that names both
===============================  ====================================================================================

A DAG whose file is as it was, but which imports a module of the folder that has changed, is parsed again too.

It runs in a thread beside the scheduler, with a store connection of its own, and wakes the scheduler when something
changed. The file system tells of changes (watchfiles); a full look from time to time catches what it did not tell. A
store that refuses (its disk is full, it is locked, it is being restarted) costs time alone: everything is looked at
again once it takes what it is given.
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
from nbflow.services.file_parsing import Parsed, ParsedDag, Parser
from nbflow.services.registration import follow_file
from nbflow.services.subprocess_jobs import SubprocessJobs
from nbflow.sources.discovery import find_dag_files, has_links
from nbflow.sources.stored_version import LoadingOptions
from nbflow.sources.version_source import read_text
from nbflow.store.base import DagImportError, DagVersion, Store

log = logging.getLogger(__name__)

EXAMPLES = Path(__file__).resolve().parents[1] / "example_dags"
"""The DAG files that come with nbflow; looked at only with ``[core] load_examples``."""
Stamp = tuple[int, int]
"""(modification time in ns, size): a file with the same stamp is not parsed again."""

Identity = tuple[int, int]
"""(device, number) of a folder."""
FOLDER_SECONDS = 1.0
"""How often it is asked whether the folder is still the one that is watched."""
LINK_SECONDS = 1.0
"""How often the folder is looked through if links lead out of it."""
RETRY_SECONDS = 0.5
"""How soon a store that refused is asked again."""


class DagProcessor:
    """See the head of this module. Made by :meth:`nbflow.app.App.processor`."""

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
        self._open_store, self._loading, self._environment, self._task_api_of = (
            open_store,
            loading,
            environment,
            task_api_of,
        )
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._stop = threading.Event()
        self._callbacks = threading.Event()
        self._callbacks.set()
        self._quiet = threading.Condition()
        self._looks_wanted = 0
        self._looks_done = 0
        self._wake_read, self._wake_write = socket.socketpair()
        self._failure: BaseException | None = None

    # --- life, from any thread

    def start(self) -> None:
        """Start watching and parsing."""
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._thread = threading.Thread(target=self._main, name="nbflow-dag-processor", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="nbflow-watch", daemon=True)
        self._thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """End the threads and every process below."""
        self._stop.set()
        self._wake()
        for thread in (self._thread, self._watcher):
            if thread is not None:
                thread.join()
        self._wake_read.close()
        self._wake_write.close()

    def sync(self, timeout: float | None = None) -> bool:
        """Look at the folder now; True when everything found there has been parsed and stored, False after ``timeout``
        seconds. Raises what ended the processor's thread."""
        with self._quiet:
            self._looks_wanted += 1
            wanted = self._looks_wanted
        self._wake()
        with self._quiet:
            done = self._quiet.wait_for(lambda: self._looks_done >= wanted or self._failure is not None, timeout)
        self.check()
        return done

    def call_back(self) -> None:
        """Callback intents were stored: carry them out."""
        self._callbacks.set()
        self._wake()

    def check(self) -> None:
        """Raise what ended the processor's thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b".")

    # --- the watcher's thread

    def _watch(self) -> None:
        folder = self.settings.core.dags_folder
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # a line a change would drown what we say
        try:
            while not self._stop.is_set():
                self._watch_one(folder, _identity(folder))
        except Exception as error:  # no watches left: the full looks find what changed
            seconds = self.settings.dag_processor.refresh_interval
            log.warning("%s cannot be watched (%s); it is looked through every %g s instead", folder, error, seconds)

    def _watch_one(self, folder: Path, identity: Identity | None) -> None:
        """Tell of changes as long as the folder is this one. What watches keeps to a folder that was deleted, or to
        which a link led, and hears of nothing any more; another may stand in its place by then."""
        if identity is None:
            self._stop.wait(FOLDER_SECONDS)
            return
        self._look_soon()
        options: dict[str, Any] = {"rust_timeout": int(FOLDER_SECONDS * 1000), "yield_on_timeout": True}
        for changes in watch(folder, stop_event=self._stop, debounce=200, step=50, raise_interrupt=False, **options):
            if changes:
                self._look_soon()
            if _identity(folder) != identity:
                self._look_soon()
                return

    def _look_soon(self) -> None:
        with self._quiet:
            self._looks_wanted += 1
        self._wake()

    # --- the processor's thread

    def _main(self) -> None:
        store = self._open_store()
        try:
            _Work(self, store).run()
        except BaseException as failure:
            log.exception("the DAG processor ended")
            with self._quiet:
                self._failure = failure
                self._quiet.notify_all()
        finally:
            store.close()


class _Work:
    """What the processor's thread holds."""

    def __init__(self, processor: DagProcessor, store: Store) -> None:
        self.processor, self.store, self.clock = processor, store, processor.clock
        settings = processor.settings
        self.folder = Path(settings.core.dags_folder)
        self.examples = settings.core.load_examples
        self.subprocess_jobs = SubprocessJobs(
            environment=processor._environment,
            answer=processor._task_api_of(store).handle_parse_request,
            log=log.warning,
            memory_limit_bytes=settings.core.task_memory_limit * 2**20 or None,
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
        )
        self.linked = False
        """Something found lies elsewhere, where the file system tells us of no change."""
        self.incomplete: set[str] = set()
        """Files that miss a module: one that appears may be it."""
        self.stamps: dict[str, Stamp] = {}
        self.queue: deque[str] = deque()
        self.in_work: set[str] = set()
        self.again: set[str] = set()
        """Files that changed while they were parsed."""
        self.owner: dict[str, str] = {}
        """dag_id -> the file that has it."""
        self.looks = -1
        """Which of the looks that were wanted was the last."""
        self.looked: float | None = None
        """When that was, by the monotonic clock; None: what it found was not stored."""
        self.parts: dict[str, dict[str, Stamp | None]] = {}
        """file -> the modules of the folder that it imported, as they were then."""
        self.records: dict[str, tuple[DagRunInfo, bool]] = {}
        """DAG with a timetable of the user's -> the middle one of its recorded runs, and its catchup."""

    def run(self) -> None:
        processor, loop = self.processor, self.subprocess_jobs.loop
        self.subprocess_jobs.start()
        loop.add_reader(processor._wake_read, self._woken)
        try:
            self._insist(self._know_owners)
            while not processor._stop.is_set():
                self._insist(self._round)
        finally:
            loop.remove_reader(processor._wake_read)
            self.subprocess_jobs.stop()

    def _insist(self, work: Callable[[], None]) -> None:
        """Do it. Where the store refuses, say so, wait a little and look at every file anew: what was being stored is
        not, and whose it was nobody needs to know."""
        try:
            work()
        except StoreError as fault:
            log.error("DAG files are not being stored: %s", fault)
            self.stamps.clear()
            self.looked = None
            self.processor._callbacks.set()
            self.processor._stop.wait(RETRY_SECONDS)

    def _know_owners(self) -> None:
        self.owner = {row.dag_id: row.fileloc for row in self.store.dags()}

    def _round(self) -> None:
        processor, interval = self.processor, self.processor.settings.dag_processor.refresh_interval
        interval = min(interval, LINK_SECONDS) if self.linked else interval
        now = time.monotonic()
        if self.looked is None or self.looks != processor._looks_wanted or now >= self.looked + interval:
            self.looks = processor._looks_wanted
            self._look()
            self.looked = now
            processor._callbacks.set()  # a callback that was claimed and not carried out may be claimed again by now
        self._feed()
        if processor._callbacks.is_set() and not self.callbacks.busy:
            processor._callbacks.clear()
            if self.callbacks.claim():
                processor._callbacks.set()
        if not self.queue and not self.in_work and not self.callbacks.in_work:
            with processor._quiet:
                processor._looks_done = self.looks
                processor._quiet.notify_all()
        self.subprocess_jobs.loop.run_once(interval)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.processor._wake_read.recv(4096):
                pass

    # --- what is there

    def _look(self) -> None:
        """Find what is new, changed or gone."""
        paths = find_dag_files(self.folder, self.processor.settings.core.dag_ignore_file_syntax)
        paths += find_dag_files(EXAMPLES) if self.examples else []
        stamps = {path: _stamp(path) for path in paths}
        found = {path: stamp for path, stamp in stamps.items() if stamp is not None}
        self.linked = has_links(self.folder, paths)
        if not found.keys() <= self.stamps.keys():
            for path in self.incomplete & found.keys():
                self._parse_soon(path)
        for path, stamp in found.items():
            parts = self.parts.get(path, {})
            if self.stamps.get(path) != stamp or any(_stamp(part) != was for part, was in parts.items()):
                self.stamps[path] = stamp
                self.parts.pop(path, None)
                self._parse_soon(path)
        for dag_id, record in list(self.records.items()):
            if self.owner.get(dag_id) in found and self._half_used(dag_id, *record):
                del self.records[dag_id]  # set again by the parse
                self._parse_soon(self.owner[dag_id])
        gone = [path for path in self.stamps if path not in found]
        gone += [path for path in self._known_files() if path not in found and path not in gone]
        for path in gone:
            self.incomplete.discard(path)
            self.stamps.pop(path, None)
            self.parts.pop(path, None)
            self._forget(path)

    def _half_used(self, dag_id: str, middle: DagRunInfo, catchup: bool) -> bool:
        """Whether the recorded runs of a user's timetable run out: half of them are made; or half of them are over,
        and the first is not made: without catchup the record then begins too early."""
        last = self._last_interval(dag_id)
        if last is not None:
            return last >= middle.data_interval
        return not catchup and middle.run_after <= self.clock.now()

    def _last_interval(self, dag_id: str) -> DataInterval | None:
        """That of the last scheduled run."""
        run = self.store.latest_run(dag_id)
        if run is None or run.data_interval_start is None or run.data_interval_end is None:
            return None
        return DataInterval(run.data_interval_start, run.data_interval_end)

    def _parse_soon(self, path: str) -> None:
        if path in self.in_work:
            self.again.add(path)
        elif path not in self.queue:
            self.queue.append(path)

    def _known_files(self) -> set[str]:
        inside = (str(self.folder) + os.sep, str(EXAMPLES) + os.sep)
        files = set(self.owner.values()) | {fault.fileloc for fault in self.store.import_errors()}
        return {path for path in files if path.startswith(inside)}

    def _forget(self, path: str) -> None:
        dag_ids = [dag_id for dag_id, owner in self.owner.items() if owner == path]
        now = self.clock.now()
        self.store.put_import_errors(path, [], now=now)
        if dag_ids:
            self.store.set_stale(dag_ids, True, now=now)
            for dag_id in dag_ids:
                del self.owner[dag_id]
            self._retry_refused(dag_ids)
            self.processor.on_change()

    def _retry_refused(self, dag_ids: list[str]) -> None:
        """A dag_id is free again: files that were refused because of it are looked at anew."""
        for fault in self.store.import_errors():
            if any(repr(dag_id) in fault.error for dag_id in dag_ids) and fault.fileloc in self.stamps:
                self._parse_soon(fault.fileloc)

    def _feed(self) -> None:
        while self.queue and len(self.in_work) < self.processor.settings.dag_processor.parsing_processes:
            path = self.queue.popleft()
            self.in_work.add(path)
            ran = {dag_id: self._last_interval(dag_id) for dag_id, owner in self.owner.items() if owner == path}
            last = {dag_id: [moment.isoformat() for moment in one] for dag_id, one in ran.items() if one is not None}
            self.parser.parse(path, lambda parsed: self._insist(partial(self._parsed, parsed)), last=last)

    # --- what became of it

    def _parsed(self, parsed: Parsed) -> None:
        self.in_work.discard(parsed.path)
        if parsed.path in self.again:
            self.again.discard(parsed.path)
            self.queue.append(parsed.path)
            return
        if parsed.path not in self.stamps:
            return  # deleted while it was parsed
        self._note_modules(parsed)
        now = self.clock.now()
        faults = list(parsed.faults)
        kept: list[str] = []
        for one in parsed.dags:
            clash = self._clash(one, parsed.path, now)
            if clash is not None:
                faults.append(clash)
                continue
            self._register(parsed, one, now)
            kept.append(one.spec.dag_id)
        if not parsed.faults:
            lost = [d for d, owner in self.owner.items() if owner == parsed.path and d not in kept]
            if lost:
                self.store.set_stale(lost, True, now=now)
                for dag_id in lost:
                    del self.owner[dag_id]
                self._retry_refused(lost)
        self.store.put_import_errors(parsed.path, faults, now=now)
        self.processor.on_change()

    def _note_modules(self, parsed: Parsed) -> None:
        """Remember what must not change unseen: the modules that the file imported, and whether it misses one."""
        inside = os.path.realpath(parsed.path).startswith(os.path.realpath(self.folder) + os.sep)
        root = self.folder if inside else os.path.dirname(parsed.path)  # as the parse itself takes it
        modules = {os.path.join(root, name): text for name, text in list(parsed.files.items())[1:]}
        self.parts[parsed.path] = {path: _stamp(path) for path in modules}
        if any(_differs(path, text) for path, text in modules.items()):
            self._parse_soon(parsed.path)  # edited after it was read, and before the stamp was taken
        missing = any(fault.error.startswith(("ModuleNotFoundError", "ImportError")) for fault in parsed.faults)
        (self.incomplete.add if missing else self.incomplete.discard)(parsed.path)

    def _clash(self, one: ParsedDag, path: str, now: datetime) -> DagImportError | None:
        owner = self.owner.get(one.spec.dag_id)
        if owner is None or owner == path or owner not in self.stamps:
            return None
        error = (
            f"AirflowDagDuplicatedIdException: dag_id {one.spec.dag_id!r} is defined in {path}, but {owner} has it "
            "already. Rename one of them."
        )
        return DagImportError(fileloc=path, line=None, error=error, cell=one.cell, at=now)

    def _register(self, parsed: Parsed, one: ParsedDag, now: datetime) -> None:
        spec = one.spec
        version = DagVersion(
            dag_id=spec.dag_id,
            spec=spec,
            fileloc=parsed.path,
            cell=one.cell,
            files=parsed.files,
            origin="example" if parsed.path.startswith(str(EXAMPLES)) else "file",
        )
        follow_file(self.store, version, self.processor.settings, now)
        self.owner[spec.dag_id] = parsed.path
        self._note_record(spec, now)

    def _note_record(self, spec: DagSpec, now: datetime) -> None:
        self.records.pop(spec.dag_id, None)
        if spec.schedule.get("kind") != "custom":
            return
        runs = RecordedTimetable(spec.schedule).runs
        middle = runs[len(runs) // 2] if len(runs) > 1 else None
        # What was over already when the author's class was just asked would be so again, at each look.
        if middle is not None and (spec.catchup or middle.run_after > now or self._last_interval(spec.dag_id)):
            self.records[spec.dag_id] = middle, spec.catchup


def _differs(path: str, text: str) -> bool:
    """Whether a file holds another text by now. One that cannot be read is told of when it is imported."""
    try:
        return read_text(path) != text
    except (OSError, SyntaxError, ValueError):
        return False


def _identity(folder: Path) -> Identity | None:
    """Differs where another folder stands in its place. None: there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _stamp(path: str) -> Stamp | None:
    """None: it is not there (any more)."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size)
