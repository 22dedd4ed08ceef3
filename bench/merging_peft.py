"""Merged LoRA experts and PEFT's `add_weighted_adapter`: the same updates, and the time that both take.

Defined alike, and compared here: `svd` (the sum of updates: task_arithmetic; with weights that sum to 1, weighted),
`ties_svd` (ties, with equal weights of 1), `dare_linear_svd` and `dare_ties_svd` (dare, where nothing is dropped),
`magnitude_prune_svd` is not ours. `cat` is the same sum at the rank of all together.

Not alike: `linear`, `ties`, `dare_*` without `_svd` merge the factors B and A apart, which is no sum of updates;
unequal weights in ties, which PEFT multiplies into the values but leaves out of the mean and of the vote; what dare
drops, which comes from other random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from common import compare, finish, interleave, options, run_in, timed, versions
from torch import Tensor

RANKS, ALPHAS, RANK = (8, 4, 6), (16.0, 16.0, 6.0), 8
COUNT = len(RANKS)
LAYERS = 2  # of MiniLM's six that have adapters
MAPS = ("q", "k", "v", "o", "up", "down")
TOLERANCE = 1e-5  # of the entries of the merged updates, which are about 1e-3
NAMES = [f"e{i}" for i in range(COUNT)]
# PEFT's name: our merge, its settings, the weights, and PEFT's density.
ALIKE: Mapping[str, tuple[str, dict[str, Any], list[float], float | None]] = {
    "svd": ("task_arithmetic", {"scale": 1.0}, [0.7, -0.4, 0.5], None),
    "cat": ("task_arithmetic", {"scale": 1.0}, [0.7, 0.4, 0.5], None),
    "svd, weights that sum to 1": ("weighted", {}, [0.2, 0.3, 0.5], None),
    "svd, equal weights": ("uniform", {}, [1 / COUNT] * COUNT, None),
    "ties_svd": ("ties", {"keep": 0.25}, [1.0] * COUNT, 0.25),
    "dare_linear_svd": ("dare", {"drop": 0.0}, [0.7, 0.4, 0.5], 1.0),
    "dare_ties_svd": ("dare", {"drop": 0.0, "then": "ties"}, [1.0] * COUNT, 1.0),
}
TIMED = ("svd", "ties_svd")


def peft_model() -> Any:
    """MiniLM with the adapters; all `B` are drawn."""
    from peers_peft import PATHS
    from peft import LoraConfig, get_peft_model

    from multigraft.backbones.load import load_backbone

    places = "|".join(PATHS[part].replace(".", r"\.") for part in MAPS)
    configs = [
        LoraConfig(r=rank, lora_alpha=alpha, target_modules=rf".*\.layer\.[0-{LAYERS - 1}]\.({places})")
        for rank, alpha in zip(RANKS, ALPHAS)
    ]
    model = get_peft_model(load_backbone("minilm").model, configs[0], adapter_name=NAMES[0])  # type: ignore[arg-type]
    for name, config in zip(NAMES[1:], configs[1:]):
        model.add_adapter(name, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return model.eval()


def layer_of(model: Any, i: int, part: str) -> Any:
    """PEFT's layer at a map."""
    from peers_peft import PATHS

    return model.base_model.model.get_submodule(f"encoder.layer.{i}.{PATHS[part]}")


def experts(model: Any) -> list[Any]:
    """The adapters of a PEFT model as experts."""
    from multigraft.library.card import Card
    from multigraft.library.parcel import Parcel

    found = []
    for name in NAMES:
        config = model.peft_config[name]
        tensors: dict[str, Tensor] = {}
        for i in range(LAYERS):
            for part in MAPS:
                layer = layer_of(model, i, part)
                tensors[f"{i}.{part}.a"] = layer.lora_A[name].weight.detach()
                tensors[f"{i}.{part}.b"] = layer.lora_B[name].weight.detach()
        card = Card(
            task=name, method={"name": "lora", "rank": config.r, "alpha": config.lora_alpha, "maps": MAPS},
            backbone="minilm", backbone_fingerprint="", tokenizer_fingerprint="", data_fingerprint="", template=None,
            seed=0, steps=0, scores={}, licence="", parents=(), versions={},
        )  # fmt: skip
        found.append(Parcel(name, tensors, card))
    return found


def updates(model: Any, name: str) -> dict[str, Tensor]:
    """PEFT's updates of an adapter by map."""
    return {
        f"{i}.{part}": layer_of(model, i, part).get_delta_weight(name).detach() for i in range(LAYERS) for part in MAPS
    }


def merge_theirs(model: Any, kind: str, rank: int) -> None:
    """PEFT's merge, kept in the model as the adapter `merged`."""
    _, _, weights, density = ALIKE[kind]
    if "merged" in model.peft_config:
        model.delete_adapter("merged")
    model.add_weighted_adapter(
        NAMES, weights, "merged", combination_type=kind.partition(",")[0], svd_rank=rank, svd_full_matrices=False,
        density=density,
    )  # fmt: skip


def merge_ours(parts: list[Any], kind: str, rank: int) -> Any:
    """Our merge."""
    from multigraft.library.merging.base import parse_merge
    from multigraft.library.merging.experts import merge_experts

    name, settings, weights, _ = ALIKE[kind]
    return merge_experts(parse_merge(name, settings), parts, "merged", weights=None if name == "uniform" else weights,
                         rank=rank)  # fmt: skip


def difference(model: Any, parts: list[Any], kind: str, rank: int) -> float:
    """The largest difference between an entry of both merged updates. Ends when it is too large."""
    merge_theirs(model, kind, rank)
    found, theirs = merge_ours(parts, kind, rank).parcel, updates(model, "merged")
    scale = found.card.method["alpha"] / found.card.method["rank"]
    ours = {key: scale * found.tensors[f"{key}.b"] @ found.tensors[f"{key}.a"] for key in theirs}
    largest = max(float((ours[key] - theirs[key]).abs().max()) for key in theirs)
    assert max(float(update.abs().max()) for update in theirs.values()) > 10 * TOLERANCE  # the merge is not nothing
    if not largest <= TOLERANCE:
        raise SystemExit(f"{kind}: updates differ from PEFT's by up to {largest:.1e}")
    return largest


def main() -> None:
    """Compare, measure, and keep the results."""
    run_in("peft")
    chosen = options(__doc__ or "")
    model = peft_model()
    parts = experts(model)
    # At full rank both are exact; at a low rank both leave out the same.
    differences = {
        f"{kind}, rank {rank}": difference(model, parts, kind, rank)
        for kind in ALIKE
        for rank in ((sum(RANKS),) if kind == "cat" else (384, RANK))
    }
    for kind, largest in differences.items():
        print(f"{kind}: updates differ from PEFT's by at most {largest:.1e}")
    measures = []
    for kind in TIMED:
        ours, theirs = f"{ALIKE[kind][0]}, with its report", f"PEFT: {kind}"
        sides = {ours: timed(lambda kind=kind: merge_ours(parts, kind, RANK)),
                 theirs: timed(lambda kind=kind: merge_theirs(model, kind, RANK))}  # fmt: skip
        measures.append(compare(interleave(sides, chosen.seconds, warm_up=1, least=3), ours, theirs))
    settings = {
        "ranks": RANKS,
        "merged rank": RANK,
        "backbone": "minilm",
        "maps": LAYERS * len(MAPS),
        "largest difference": differences,
    }
    finish("merging_peft", "Merging LoRA experts, and PEFT", measures, chosen, settings=settings,
           peers=versions("peft"))  # fmt: skip


if __name__ == "__main__":
    main()
