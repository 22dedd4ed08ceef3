"""Routing one text to an expert, once it is embedded: among 30,000 keys, and a million, which are searched by codes.

Keys and queries are drawn: experts around centres, and queries near keys but not equal to them. How far they are apart
is that of real texts: those of one of 43 tasks, embedded by MiniLM, have a mean inner product of 0.05 to 0.27, and vary
in about 160 of 384 directions (participation ratio). Beside queries near keys, recall is measured for further draws of
experts, for which all keys of their expert are about as near: the hardest case.

Ends with an error when adding an expert has changed what the index holds of another one.
"""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from common import keep, options, versions
from rich.console import Console
from rich.table import Table

from multigraft.library.card import KeysCard
from multigraft.library.retrieval.index import EQUAL, Index
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.retrieval.votes import Votes
from multigraft.runinfo import machine, peak_memory_mb, reset_peak_memory

SMALL, LARGE, KEYS, WIDTH = 300, 10_000, 100, 384  # experts, and keys of each
SMALL_MS, LARGE_MS, MISSED = 5.0, 10.0, 0.05  # targets: p50, p50, and the share of queries whose nearest key is missed
SPREAD, DISTANCE = 2.0, 1.0  # of the keys of an expert, over the length of its centre; of a query, over that of its key
DECAY = 0.3  # the n-th direction varies by n ** -DECAY
QUERIES, ADDED, REMOVED = 500, 20, 5
MADE = KeysCard(encoder="drawn", encoder_fingerprint="", text=KeyText(), tokens=256)
Row = tuple[str, str, str, float, float | None]  # what, found, over, ratio, target


class Texts:
    """Draws the vectors, all of length 1, of experts and of queries."""

    def __init__(self, experts: int) -> None:
        self._rng = np.random.default_rng(0)
        scales = np.arange(1, WIDTH + 1) ** -DECAY
        self._scales = (scales / np.linalg.norm(scales)).astype(np.float32)
        self._centres = self._around(np.zeros((experts, WIDTH), np.float32), 1.0)
        self.keys = np.empty((experts * KEYS, WIDTH), np.float32)
        for expert in range(experts):
            self.keys[expert * KEYS : (expert + 1) * KEYS] = self.expert(expert)

    def expert(self, number: int | None = None, keys: int = KEYS) -> np.ndarray:
        """Vectors of an expert's texts, keys x D; without a number those of a new one."""
        centre = self._around(np.zeros((1, WIDTH), np.float32), 1.0) if number is None else self._centres[[number]]
        return self._around(np.repeat(centre, keys, axis=0), SPREAD)

    def near_keys(self) -> np.ndarray:
        """Queries near to keys."""
        return self._around(self.keys[self._rng.choice(len(self.keys), QUERIES, replace=False)], DISTANCE)

    def of_experts(self) -> np.ndarray:
        """Queries that are further texts of experts."""
        chosen = self._rng.choice(len(self._centres), QUERIES)
        return np.concatenate([self.expert(number, 1) for number in chosen])

    def _around(self, centres: np.ndarray, distance: float) -> np.ndarray:
        drawn = centres + distance * self._scales * self._rng.standard_normal(centres.shape, np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def built(texts: Texts) -> Index:
    """The index of all experts, added one after the other."""
    index = Index()
    for number, keys in enumerate(np.split(texts.keys, len(texts.keys) // KEYS)):
        index.add(f"expert {number:05}", keys, MADE)
    return index


def routing_ms(index: Index, queries: np.ndarray, seconds: float) -> list[float]:
    """Milliseconds of routing one text: its nearest key, its vote, and the decision; over all queries at least once."""
    index.search(queries[:1])
    times: list[float] = []
    ends = time.perf_counter() + seconds
    for number in cycle(range(len(queries))):
        if len(times) >= len(queries) and time.perf_counter() > ends:
            return times
        started = time.perf_counter()
        votes = Votes()
        votes.add(index.search(queries[number : number + 1]))
        votes.decide()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def missed(index: Index, queries: np.ndarray, keys: np.ndarray) -> float:
    """The share of queries that have a nearer key than the one that the index finds."""
    best = np.full(len(queries), -np.inf, np.float32)
    for block in np.array_split(keys, max(1, len(keys) // 50_000)):
        best = np.maximum(best, (queries @ block.T).max(axis=1))
    found = np.array([near[0].score for near in index.search(queries)])
    return float((found < best - EQUAL).mean())


def held(keys: Any, count: int) -> int:
    """A checksum of the first keys, their owners, and their codes, which lie in blocks of 32."""
    vectors, owners = keys.held()
    codes = keys._codes
    blocks = faiss.rev_swig_ptr(codes.codes.get(), count // 32 * codes.M2 * 16)
    total = zlib.crc32(faiss.vector_to_array(codes.pq.centroids).data)
    for part in (vectors[:count], owners[:count], blocks):
        total = zlib.crc32(part.data, total)
    return total


def adding_and_removing_ms(index: Index, texts: Texts) -> tuple[float, float]:
    """Median milliseconds of adding an expert, and of removing one. Ends when the others have been touched."""
    keys: Any = index._keys
    codes, count = keys._codes, len(index)
    before, adding, removing = held(keys, count), [], []
    names = [f"new {number}" for number in range(ADDED)]
    for name in names:
        own = texts.expert()
        started = time.perf_counter()
        index.add(name, own, MADE)
        adding.append((time.perf_counter() - started) * 1e3)
        if index.search(own[:1])[0][0].expert != name:
            raise SystemExit("an expert that was added is not found")
    if keys._codes is not codes or held(keys, count) != before:
        raise SystemExit("adding an expert has changed what the index holds of others")
    for name in index.names[:REMOVED]:  # the first of all: all keys move up
        started = time.perf_counter()
        index.remove(name)
        removing.append((time.perf_counter() - started) * 1e3)
    return statistics.median(adding), statistics.median(removing)


def resident_mb() -> float:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def times_of(what: str, times: Sequence[float], target: float) -> list[Row]:
    """The median with its target, and the 99th percentile."""
    return [
        (f"{what}, {name}", f"{value:.2f} ms", f"{target:g} ms", value / target, 1.0 if name == "p50" else None)
        for name, value in (("p50", statistics.median(times)), ("p99", float(np.quantile(times, 0.99))))
    ]


def small(seconds: float) -> list[Row]:
    """300 experts."""
    texts = Texts(SMALL)
    return times_of(f"{SMALL} experts x {KEYS} keys", routing_ms(built(texts), texts.near_keys(), seconds), SMALL_MS)


def large(seconds: float) -> list[Row]:
    """10,000 experts."""
    texts = Texts(LARGE)
    near, further = texts.near_keys(), texts.of_experts()
    reset_peak_memory()
    before, started = resident_mb(), time.perf_counter()
    index = built(texts)
    took, peak, after = time.perf_counter() - started, peak_memory_mb() - before, resident_mb() - before
    rows = times_of("a million keys", routing_ms(index, near, seconds), LARGE_MS)
    for what, queries, target in (("queries near keys", near, 1.0), ("further texts of experts", further, None)):
        share = missed(index, queries, texts.keys)
        rows.append((f"recall@1, {what}", f"{1 - share:.3f}", f"{MISSED:g} missed", share / MISSED, target))
    plain = texts.keys.nbytes / 2**20
    for what, value in (("memory of the index", after), ("peak while it is built", peak)):
        rows.append((what, f"{value:.0f} MiB", f"the keys alone, {plain:.0f} MiB", value / plain, None))
    for what, value in zip(("adding an expert", "removing an expert"), adding_and_removing_ms(index, texts)):
        rows.append((what, f"{value:.2f} ms", f"building, {took:.0f} s", value / took / 1e3, None))
    return rows


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    faiss.omp_set_num_threads(chosen.threads)
    about = machine() | {"threads": str(chosen.threads)} | versions("faiss-cpu")
    title = "Routing one text"
    table = Table("measured", "found", "over", "ratio", "target", "met", title=title)
    measures = []
    for what, found, over, ratio, target in small(chosen.seconds) + large(chosen.seconds):
        met = "–" if target is None else "yes" if ratio <= target else "NO"
        table.add_row(what, found, over, f"{ratio:.3f}", "–" if target is None else f"≤ {target:.2f}", met)
        measures.append({"what": what, "over": over, "ratio": ratio, "target": target, "met": met, "found": found})
    Console(width=140).print(table)
    if not chosen.dry:
        settings = {"experts": [SMALL, LARGE], "keys": KEYS, "width": WIDTH, "queries": QUERIES, "spread": SPREAD,
                    "distance": DISTANCE, "decay": DECAY}  # fmt: skip
        keep("routing", {"title": title, "machine": about, "settings": settings, "measures": measures})


if __name__ == "__main__":
    main()
