"""Masking secrets in a log: a text on which a backtracking pattern would take quadratic time, and a text without
secrets."""

from __future__ import annotations

import time

from bench.harness import Bench
from bench.results import Figure

SECRETS = ["correct horse battery", "-----BEGIN KEY-----\nMIIEvQ\nIBADAN\n-----END KEY-----", "ab", "fox"]
FLOOR = "one search for each form of a secret in the text, by str.find"


def measure(bench: Bench) -> list[Figure]:
    from nbflow.secrets_masker import Masker

    masker = Masker(SECRETS)
    third = int(bench.megabytes * 1_000_000) // 3
    texts = {
        "hostile text": "://" * (third // 3) + "password" * (third // 8) + "a" * third,
        "a log of lines": "2024-01-01 INFO nbflow.task | loaded 17 rows\n" * (3 * third // 44),
    }
    figures = []
    for what, text in texts.items():
        samples, floor = [], []
        for _ in range(bench.runs):
            started = time.thread_time()
            masker.mask(text)
            samples.append(time.thread_time() - started)
            started = time.thread_time()
            for secret in masker.forms:
                text.find(secret)
            floor.append(time.thread_time() - started)
        figures.append(
            Figure(
                row="masking",
                what=f"{bench.megabytes:g} MB, {what}",
                unit="s",
                samples=tuple(samples),
                floor=tuple(floor),
                floor_is=FLOOR,
            )
        )
    figures.append(_stream(bench, texts["a log of lines"]))
    return figures


def _stream(bench: Bench, text: str) -> Figure:
    """The chunks of a pipe, as a supervisor masks them."""
    from nbflow.execution.logs import READ_BYTES
    from nbflow.secrets_masker import Masker, StreamMasker

    masker, data = Masker(SECRETS), text.encode()
    chunks = [data[start : start + READ_BYTES] for start in range(0, len(data), READ_BYTES)]
    samples, floor = [], []
    for _ in range(bench.runs):
        stream = StreamMasker(masker)
        started = time.thread_time()
        for chunk in chunks:
            stream.feed(chunk).encode()
        samples.append(time.thread_time() - started)
        started = time.thread_time()
        for chunk in chunks:
            masker.mask(chunk.decode()).encode()
        floor.append(time.thread_time() - started)
    return Figure(
        row="masking",
        what=f"{bench.megabytes:g} MB, the pipe of a task",
        unit="s",
        samples=tuple(samples),
        floor=tuple(floor),
        floor_is="masking each chunk by itself",
    )
