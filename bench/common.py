"""What the benchmarks share: environments of the peers, timing side by side, tables and results."""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results"

Side = Callable[[], float]  # does the work once; gives the seconds it took


def options(about: str) -> argparse.Namespace:
    """The command line of a benchmark; sets the number of threads."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=40.0, help="time for each group of sides (default 40)")
    parser.add_argument("--threads", type=int, default=2, help="on the CPU (default 2)")
    parser.add_argument("--dry", action="store_true", help="print the table, keep no results")
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(chosen.threads)
    return chosen


def environment(name: str, *, with_project: bool) -> Path:
    """The Python of `bench/.env/<name>`, installed from `requirements-<name>.txt` when that is new or has changed."""
    folder, requirements = BENCH / ".env" / name, BENCH / f"requirements-{name}.txt"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"installing {requirements.name} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        project = ["-e", str(BENCH.parent)] if with_project else []
        command = [python, "-m", "pip", "install", "--quiet", "-r", requirements.name, *project]
        subprocess.run(command, cwd=BENCH, check=True)
        stamp.write_text(digest)
    return python


def run_in(name: str) -> None:
    """Continue this script in the environment of a peer that can be installed beside the project."""
    python = environment(name, with_project=True)
    if Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), *sys.argv])


class Peer:
    """A peer that needs other versions: a process of its own that waits while the other side runs.

    Requests and replies are lines of JSON. The first request is `{"build": settings}`, to which it replies with
    its versions; each `{"run": side}` does a side's work once and is answered with the seconds it took.
    """

    def __init__(self, environment_name: str, script: str, **settings: object) -> None:
        python = environment(environment_name, with_project=False)
        # The memory allocator as `multigraft.runinfo.keep_freed_memory` sets it on the other side.
        kept = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
        self._process = subprocess.Popen(
            [python, BENCH / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **kept},
        )
        self.versions: dict[str, str] = self._ask({"build": settings})

    def _ask(self, request: object):  # type: ignore[no-untyped-def]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise SystemExit("the peer has stopped; its message stands above")
        return json.loads(reply)

    def side(self, name: str) -> Side:
        """One of the peer's sides."""
        return lambda: float(self._ask({"run": name}))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def timed(work: Callable[[], object]) -> Side:
    """A side that runs in this process."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def side() -> float:
        wait()
        started = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - started

    return side


def interleave(
    sides: Mapping[str, Side], seconds: float, *, warm_up: int = 2, least: int = 7
) -> dict[str, list[float]]:
    """Seconds of each side in each round; every round runs all sides, in alternating order.

    Rounds go on for `seconds`, and at least `least` of them are done, after `warm_up` that do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    started, done = time.perf_counter(), -warm_up
    gc.collect()
    gc.disable()
    while done < least or time.perf_counter() - started < seconds:
        for name in names:
            took = sides[name]()
            if done >= 0:
                times[name].append(took)
        names.reverse()
        done += 1
    gc.enable()
    return times


@dataclass(frozen=True)
class Measure:
    """How one side compares with another: the median over the rounds of the ratio of their times."""

    what: str
    over: str
    ratio: float
    low: float  # quartiles over the rounds
    high: float
    target: float | None  # the ratio should be at most this
    milliseconds: float | None  # median time of the side, and of what it is compared with
    over_milliseconds: float | None
    rounds: int

    @property
    def verdict(self) -> str:
        """Is the target met?"""
        if self.target is None:
            return "–"
        return "yes" if self.ratio <= self.target else "NO"


def compare(times: Mapping[str, Sequence[float]], what: str, over: str, target: float | None = None) -> Measure:
    """The measure of side `what` over side `over`."""
    ratios = [a / b for a, b in zip(times[what], times[over], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Measure(
        what,
        over,
        statistics.median(ratios),
        low,
        high,
        target,
        statistics.median(times[what]) * 1e3,
        statistics.median(times[over]) * 1e3,
        len(ratios),
    )


def finish(
    name: str,
    title: str,
    measures: Sequence[Measure],
    chosen: argparse.Namespace,
    *,
    settings: Mapping[str, object],
    peers: Mapping[str, str] | None = None,
) -> None:
    """Print the table and keep the results in `results/<name>.json` (`<name>-cuda.json` on a GPU)."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from multigraft.runinfo import machine

    about = machine() | {"threads": str(torch.get_num_threads())} | dict(peers or {})
    table = Table(title=title, caption=" · ".join(f"{key} {value}" for key, value in about.items()))
    for column in ("measured", "over", "ratio", "quartiles", "target", "met", "ms", "over ms", "rounds"):
        table.add_column(column, justify="left" if column in ("measured", "over") else "right")
    for m in measures:
        target = "–" if m.target is None else f"≤ {m.target:.2f}"
        took = ["–" if value is None else f"{value:.1f}" for value in (m.milliseconds, m.over_milliseconds)]
        table.add_row(m.what, m.over, f"{m.ratio:.3f}", f"{m.low:.3f}–{m.high:.3f}", target, m.verdict, *took,
                      str(m.rounds))  # fmt: skip
    Console(width=160).print(table)
    if not chosen.dry:
        keep(name, {"title": title, "machine": about, "settings": dict(settings),
                    "measures": [asdict(m) | {"met": m.verdict} for m in measures]})  # fmt: skip


def keep(name: str, record: Mapping[str, object]) -> None:
    """Write a record of results."""
    import torch

    from multigraft.files import write_json

    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}{'-cuda' if torch.cuda.is_available() else ''}.json", record)


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages."""
    return {package: metadata.version(package) for package in packages}
