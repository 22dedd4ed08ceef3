"""All pairs of 10,000 prompts of 100 x 768 by both similarities: time, and memory beside that of the prompts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
from common import interleave, keep, options, timed
from rich.console import Console
from rich.table import Table

from multigraft.library.similarity import MEASURES, embeddings, similarities
from multigraft.runinfo import machine, peak_memory_mb, reset_peak_memory

PROMPTS, TOKENS, WIDTH = 10_000, 100, 768
SECONDS, SHARE = 60.0, 0.5  # targets: for both similarities; of the memory that all prompts together would take
MADE = 8  # prompts drawn; the others are these, moved


def prompts() -> Iterator[np.ndarray]:
    """The prompts one after the other, float32, as they come from files."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((MADE, TOKENS, WIDTH), dtype=np.float32)
    for number in range(PROMPTS):
        yield drawn[number % MADE] + rng.standard_normal(WIDTH, dtype=np.float32)


def all_pairs() -> None:
    """Both matrices, in float32."""
    for measure in MEASURES:
        similarities(embeddings(prompts(), measure), out=np.empty((PROMPTS, PROMPTS), np.float32))


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    reset_peak_memory()
    started = time.process_time()
    times = interleave({"all pairs": timed(all_pairs)}, chosen.seconds, warm_up=0, least=1)["all pairs"]
    busy = (time.process_time() - started) / len(times)
    took, memory = statistics.median(times), peak_memory_mb()
    whole = PROMPTS * TOKENS * WIDTH * 4 / 2**20
    about = machine() | {"threads": str(chosen.threads)}
    table = Table("measured", "found", "over", "ratio", "target", "met", title="Similarity of 10,000 prompts")
    measures = []
    for what, found, over, ratio, target in (
        ("time, both similarities of all pairs", f"{took:.1f} s", "a minute", took / SECONDS, 1.0),
        ("processor time of all threads", f"{busy:.1f} s", "a minute", busy / SECONDS, None),
        ("peak memory", f"{memory:.0f} MiB", f"all prompts, {whole:.0f} MiB", memory / whole, SHARE),
    ):
        met = "–" if target is None else "yes" if ratio <= target else "NO"
        table.add_row(what, found, over, f"{ratio:.3f}", "–" if target is None else f"≤ {target:.2f}", met)
        measures.append({"what": what, "over": over, "ratio": ratio, "target": target, "met": met, "found": found})
    Console(width=140).print(table)
    if not chosen.dry:
        settings = {"prompts": PROMPTS, "tokens": TOKENS, "width": WIDTH, "rounds": len(times)}
        record = {"title": "Similarity of 10,000 prompts", "machine": about, "settings": settings}
        keep("similarity", record | {"measures": measures})


if __name__ == "__main__":
    main()
