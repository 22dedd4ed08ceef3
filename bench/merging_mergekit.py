"""Full models merged in files over mergekit: the same tensors, time, time of copying the files, and memory.

Defined alike, and compared here: linear (weighted), task_arithmetic, ties, slerp. Not alike: what dare drops, which
comes from other random numbers; slerp of nearly parallel tensors, which mergekit interpolates along a line.

All files are in memory where there is room for them: on a disk, times are those of the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import Measure, Peer, compare, finish, interleave, options
from safetensors.torch import load_file

from multigraft.library.merging.base import parse_merge
from multigraft.library.merging.files import SINGLE, open_model
from multigraft.library.merging.models import merge_files
from multigraft.runinfo import keep_freed_memory, peak_memory_mb, reset_peak_memory

TOLERANCE = 1e-5  # of weights of about 1
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128}
LARGE = {"hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 6, "vocab_size": 32768}  # 1.1 GB
ROOM = 8 * 10**9  # bytes: two models, both results or copies of them, and some more
# mergekit's method and parameters, those of the models, and our merge with its settings and weights.
SHARE = {"density": 0.25}
ALIKE: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], dict[str, Any], list[float] | None]] = {
    "linear": ("weighted", {}, [{"weight": 0.3}, {"weight": 0.9}], {}, [0.3, 0.9]),
    "task_arithmetic": (
        "task_arithmetic", {"lambda": 0.7}, [{"weight": 1.0}, {"weight": -0.5}], {"scale": 0.7}, [1.0, -0.5]
    ),
    "ties": (
        "ties", {"lambda": 0.7}, [{"weight": 1.0, **SHARE}, {"weight": 0.5, **SHARE}], {"keep": 0.25, "scale": 0.7},
        [1.0, 0.5],
    ),
    "slerp": ("slerp", {"t": 0.3}, [{}, {}], {"t": 0.3}, None),
}  # fmt: skip
BASED = ("task_arithmetic", "ties")


def make_models(folder: Path, names: list[str], sizes: dict[str, int]) -> list[Path]:
    """Random Llamas in float32, as transformers writes them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    places = []
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        heads = max(1, sizes["hidden_size"] // 64)
        model = LlamaForCausalLM(LlamaConfig(num_attention_heads=heads, num_key_value_heads=heads, **sizes))  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        model.save_pretrained(folder / name, max_shard_size="100GB")
        places.append(folder / name)
    return places


def configuration(kind: str, models: list[Path], base: Path) -> dict[str, Any]:
    """What mergekit is told."""
    _, parameters, each, _, _ = ALIKE[kind]
    given = [{"model": str(model), "parameters": own} for model, own in zip(models, each)]
    start = {"base_model": str(base if kind in BASED else models[0])} if kind != "linear" else {}
    return {"merge_method": kind, "models": given, "parameters": parameters, "dtype": "float32", **start}


def merge_ours(kind: str, models: list[Path], base: Path, output: Path) -> float:
    """Our merge, after the last result is deleted; gives the seconds it took."""
    name, _, _, settings, weights = ALIKE[kind]
    shutil.rmtree(output, ignore_errors=True)
    started = time.perf_counter()
    merge_files(parse_merge(name, settings), models, output, base=base if kind in BASED else None, weights=weights)
    return time.perf_counter() - started


def copy(models: list[Path], output: Path) -> float:
    """Copy the files of all models, and wait until they are on the disk, as our merge does with what it writes."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    started = time.perf_counter()
    for number, model in enumerate(models):
        shutil.copyfile(model / SINGLE, output / f"{number}")
        with (output / f"{number}").open("rb+") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - started


def difference(kind: str, ours: Path, theirs: Path) -> float:
    """The largest difference of an entry of both merged models. Ends when it is too large, or names differ."""
    found = load_file(ours / SINGLE)
    expected = {name: tensor for path in theirs.glob("*.safetensors") for name, tensor in load_file(path).items()}
    if found.keys() != expected.keys():
        raise SystemExit(f"{kind}: other tensors than mergekit's: {sorted(found.keys() ^ expected.keys())}")
    largest = max(float((found[name] - tensor).abs().max()) for name, tensor in expected.items())
    if not largest <= TOLERANCE:
        raise SystemExit(f"{kind}: tensors differ from mergekit's by up to {largest:.1e}")
    return largest


def peak_over_bound(models: list[Path], output: Path) -> Measure:
    """The memory that our merge takes, over 1.5 times the largest tensor times the number of models."""
    largest = max(stored.dtype.itemsize * torch.Size(stored.shape).numel() for stored in open_model(models[0]).values())
    reset_peak_memory()
    before = peak_memory_mb()
    merge_ours("linear", models, models[0], output)
    used = (peak_memory_mb() - before) * 2**20
    bound = 1.5 * largest * len(models)
    over = f"1.5 x largest tensor x models, {bound / 2**20:.0f} MiB"
    ratio = used / bound
    return Measure(f"peak memory, {used / 2**20:.0f} MiB", over, ratio, ratio, ratio, 1.0, None, None, 1)


def main() -> None:
    """Compare, measure, and keep the results."""
    chosen = options(__doc__ or "")
    keep_freed_memory()
    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    with tempfile.TemporaryDirectory(dir=memory if in_memory else None) as place:
        folder = Path(place)
        *small, base = make_models(folder, ["small 1", "small 2", "small base"], SMALL)
        large = make_models(folder, ["large 1", "large 2"], LARGE)
        theirs, ours = folder / "theirs", folder / "ours"
        sides: dict[str, Any] = {
            kind: {"config": configuration(kind, small, base), "output": str(theirs / kind)} for kind in ALIKE
        }
        sides["timed"] = {"config": configuration("linear", large, base), "output": str(theirs / "timed")}
        peer = Peer("mergekit", "peers_mergekit.py", threads=chosen.threads, sides=sides)
        differences = {}
        for kind in ALIKE:
            peer.side(kind)()
            merge_ours(kind, small, base, ours)
            differences[kind] = difference(kind, ours, theirs / kind)
            print(f"{kind}: tensors differ from mergekit's by at most {differences[kind]:.1e}")
        memory = peak_over_bound(large, ours)
        size = (large[0] / SINGLE).stat().st_size / 1e9
        us, them, copying = "linear merge of two models", "mergekit: linear merge", "copying both files"
        times = interleave(
            {us: lambda: merge_ours("linear", large, base, ours), them: peer.side("timed"),
             copying: lambda: copy(large, ours)},
            chosen.seconds, warm_up=1, least=3,
        )  # fmt: skip
        peer.close()
    measures = [compare(times, us, them, 0.5), compare(times, us, copying, 2.0), memory]
    settings = {
        "size of a model, GB": round(size, 2),
        "precision": "float32",
        "files": "in memory" if in_memory else "on a disk",
        "largest difference": differences,
    }
    finish("merging_mergekit", "Merging full models, and mergekit", measures, chosen, settings=settings,
           peers=peer.versions)  # fmt: skip


if __name__ == "__main__":
    main()
