from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from multigraft import __version__, runinfo


def test_machine_says_what_a_run_ran_on() -> None:
    facts = runinfo.machine()
    assert {"processor", "cores", "memory", "device", "system", "python", "torch", "transformers"} <= set(facts)
    assert facts["multigraft"] == __version__
    assert all(isinstance(value, str) and value for value in facts.values())
    assert int(facts["cores"]) >= 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process reset its peak")
def test_peak_memory_sees_what_came_after_the_reset_only() -> None:
    block = bytearray(b"x") * (200 * 2**20)
    high = runinfo.peak_memory_mb()
    del block
    runinfo.reset_peak_memory()
    low = runinfo.peak_memory_mb()
    assert high - low > 150
    block = bytearray(b"x") * (100 * 2**20)
    assert 80 < runinfo.peak_memory_mb() - low < 150
    del block


def test_peak_memory_without_the_process_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    runinfo.reset_peak_memory()
    assert runinfo.peak_memory_mb() > 1


CHURN = """
import resource, sys
from multigraft.runinfo import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(100):
    block = bytearray(b"x") * (40 * 2**20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such option")
def test_freed_memory_is_used_again() -> None:
    def pages_mapped(how: str) -> int:
        run = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert pages_mapped("keep") < pages_mapped("default") / 2
