"""What a run ran on, and how much memory it took: figures mean little without it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median

from multigraft import __version__

_LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "scikit-learn")


def machine() -> dict[str, str]:
    """Processor, cores, memory, device, system, and versions of what computes."""
    return {
        "processor": _processor(),
        "cores": str(_cores()),
        "memory": _memory(),
        "device": _device(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "multigraft": __version__,
        **{library: metadata.version(library) for library in _LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use; a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _device() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"


def median_ms(call: Callable[[], object], repeats: int, *, warm_up: int = 0) -> float:
    """Milliseconds that a call takes: the median over `repeats`, after `warm_up` calls that do not count."""
    times = []
    for _ in range(warm_up + repeats):
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return median(times[warm_up:])


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to a GiB, for its next tensors.

    By default the GNU C library hands every large block back to the system, which clears it and maps it again a
    moment later: a tenth of a training step on the CPU, a quarter of a forward. Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        map_from, trim_from = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of mallopt(3)
        if set_option(map_from, 2**30) or set_option(map_from, 2**25):  # older ones allow no more than the latter
            set_option(trim_from, 2**30)


def _release_freed_memory() -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Start measuring peak memory anew.

    Where the system does not let a process reset its own peak, the figure stays the peak since its start.
    """
    if _on_cuda():
        import torch

        torch.cuda.reset_peak_memory_stats()
    _release_freed_memory()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset the peak resident size, see proc(5)


def peak_memory_mb() -> float:
    """Peak memory since the last reset, in units of 2**20 bytes.

    On the GPU what torch had allocated there, once this process has used it; otherwise the resident size.
    """
    if _on_cuda():
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return _peak_since_start_mb()
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) / 2**10 if lines else _peak_since_start_mb()


def _on_cuda() -> bool:
    torch = sys.modules.get("torch")  # a process that never imported torch has not used the GPU
    return torch is not None and bool(torch.cuda.is_initialized())


def _peak_since_start_mb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)
