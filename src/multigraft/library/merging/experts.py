"""Experts merged into an expert."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.card import Card, HeadCard
from multigraft.library.load import check_methods, split_head
from multigraft.library.merging.base import Combination, Held, Merge, Score, Tensors, merged_tensor
from multigraft.library.merging.heads import check_heads, merge_heads
from multigraft.library.merging.interference import Interference, interference
from multigraft.library.merging.low_rank import Factored, Update, factor, factor_sum, inner_products
from multigraft.library.merging.models import Model, mix
from multigraft.library.parcel import Parcel
from multigraft.methods.base import Method, method_record, parse_method
from multigraft.methods.lora import LoRA
from multigraft.runinfo import machine


class MergedExpert(NamedTuple):
    """What was made, the weights of its parents, how they agree, and for LoRA what its rank costs."""

    parcel: Parcel
    weights: tuple[float, ...]
    interference: Interference
    error: float | None  # of all updates together: norm of what the rank leaves out over that of the exact merge
    errors: dict[str, float]  # the same by adapted map; empty for other methods


def merge_experts(
    merge: Merge,
    experts: Sequence[Parcel],
    name: str,
    *,
    weights: Sequence[float] | None = None,
    statistics: Sequence[Model] | None = None,
    score: Score | None = None,
    rank: int | None = None,
    heads: bool = True,
) -> MergedExpert:
    """Merge experts of one method and one backbone.

    Of LoRA, what is merged are the updates `Delta W = (alpha / R) B A`, so that ranks and alphas may differ; the
    result is factored at `rank`, by default the largest of them. An expert of another method, such as a soft prompt
    or an adapter, is merged in its parameters: each counts as a difference to zero. Heads are no differences to
    anything: where all answer with the same labels, they are averaged by the weights, or all alike where one of these
    is negative or all are 0; `heads=False` leaves them out. Raises UserError for experts that do not go together.
    """
    names = [expert.name for expert in experts]
    methods = [parse_method(each.card.method, f"expert {each.name}: method") for each in experts]
    _check_cards(experts)
    free = frozenset({"rank", "alpha"} if isinstance(methods[0], LoRA) else ())
    check_methods(names, methods, free=free, fix="merge experts of one method")
    if rank is not None and not (isinstance(methods[0], LoRA) and rank > 0):
        raise UserError(f"no rank of {methods[0].name}: {rank}", where="rank", fix="only lora has one, from 1")
    parts = [split_head(expert.tensors) for expert in experts]
    models = [_leaves(module, method) for (module, _), method in zip(parts, methods)]
    card = check_heads(experts, [head for _, head in parts]) if heads else None
    mixture = mix(merge, models, names, differences=True, weights=weights, statistics=statistics, score=score)
    every = [mixture.tensors(key) for key in models[0]]
    found = interference(names, every, _products)
    method, errors, lost, whole = methods[0], {}, 0.0, 0.0
    tensors: dict[str, Tensor] = {}
    if isinstance(method, LoRA):
        kept = rank or max(each.rank for each in methods if isinstance(each, LoRA))
        method = method.model_copy(update={"rank": kept})
        for each in every:
            factored = _factored(merge, each, kept)
            tensors |= _lora_tensors(each, factored, method)
            errors[each.name] = factored.error
            lost, whole = lost + factored.lost, whole + factored.whole
    else:
        tensors = {each.name: merged_tensor(merge, each) for each in every}
    if card is not None:
        tensors |= merge_heads(experts, [head for _, head in parts], mixture.weights)
    error = (lost / whole) ** 0.5 if whole else 0.0
    parcel = Parcel(name, tensors, _card(merge, experts, method, card))
    return MergedExpert(parcel, mixture.weights, found, error if errors else None, errors)


def _check_cards(experts: Sequence[Parcel]) -> None:
    first = experts[0]
    for expert in experts:
        for what in ("backbone", "tokenizer"):
            mine, its = (getattr(one.card, f"{what}_fingerprint") for one in (expert, first))
            if mine != its:
                raise UserError(
                    f"was trained on a {what} with fingerprint {mine}, {first.name!r} on {its}",
                    where=f"expert {expert.name}",
                    fix="merge experts of one backbone",
                )


def _leaves(module: Mapping[str, Tensor], method: Method) -> Model:
    if not isinstance(method, LoRA):
        return {key: Held(tensor) for key, tensor in module.items()}
    maps = [key.removesuffix(".b") for key in module if key.endswith(".b")]
    scale = method.alpha / method.rank
    return {key: Update(module[f"{key}.b"], module[f"{key}.a"], scale) for key in maps}


def _products(tensors: Tensors) -> Tensor:
    updates = [leaf for leaf in tensors.leaves if isinstance(leaf, Update)]
    return inner_products(updates) if updates else tensors.products()


def _factored(merge: Merge, tensors: Tensors, rank: int) -> Factored:
    if not isinstance(merge, Combination):
        return factor(merged_tensor(merge, tensors).float(), rank)
    updates = [leaf for leaf in tensors.leaves if isinstance(leaf, Update)]
    return factor_sum(updates, merge.coefficients(tensors.weights, lambda: inner_products(updates)), rank)


def _lora_tensors(tensors: Tensors, factored: Factored, method: LoRA) -> dict[str, Tensor]:
    """The tensors of an adapted map: the method multiplies their product by alpha / R, which is taken out here."""
    root = (method.rank / method.alpha) ** 0.5
    return {f"{tensors.name}.{part}": (factor * root).to(tensors.dtype).contiguous()
            for part, factor in (("a", factored.a), ("b", factored.b))}  # fmt: skip


def _card(merge: Merge, experts: Sequence[Parcel], method: Method, head: HeadCard | None) -> Card:
    cards = [expert.card for expert in experts]
    tasks, licences = (list(dict.fromkeys(values)) for values in ([c.task for c in cards], [c.licence for c in cards]))
    templates = {card.template for card in cards}
    return cards[0].model_copy(
        update={
            "task": " + ".join(tasks),
            "method": method_record(method),
            "data_fingerprint": hashlib.sha256("\n".join(card.data_fingerprint for card in cards).encode()).hexdigest(),
            "template": templates.pop() if len(templates) == 1 else None,
            "seed": getattr(merge, "seed", 0),
            "steps": 0,
            "scores": {},
            "licence": " and ".join(licences),
            "parents": tuple(expert.name for expert in experts),
            "versions": {
                key: value for key, value in machine().items() if key in ("multigraft", "torch", "transformers")
            },
            "head": head,
            "retrieval": None,
        }
    )
