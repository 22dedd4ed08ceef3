"""Heads of experts merged: only where they answer with the same labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.card import HeadCard
from multigraft.library.merging.base import combine
from multigraft.library.parcel import Parcel
from multigraft.library.store import HEAD

Head = Mapping[str, Tensor]
_BY_LABEL = ("weight", "bias")  # tensors with a row for each label


def check_heads(experts: Sequence[Parcel], heads: Sequence[Head]) -> HeadCard | None:
    """The head card that all experts can share, None where none has a head. Raises UserError when they cannot."""
    first, kind = experts[0], _kind(experts[0], heads[0])
    for expert, head in zip(experts[1:], heads[1:]):
        own = _kind(expert, head)
        if own != kind:
            raise UserError(
                f"its head answers {own}, that of {first.name!r} {kind}",
                where=f"expert {expert.name}",
                fix="merge them without heads, or experts with the same labels",
            )
        shapes = [{key: tuple(tensor.shape) for key, tensor in each.items()} for each in (head, heads[0])]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"its head is built unlike that of {first.name!r}",
                where=f"expert {expert.name}",
                fix="merge them without heads",
            )
    return first.card.head if heads[0] else None


def _kind(expert: Parcel, head: Head) -> str:
    """What a head answers, in words; the same for labels in another order."""
    if not head:
        return "nothing: it has none"
    if expert.card.head is None:
        fix = "merge them without heads"
        raise UserError("has a head, but its card says nothing of it", where=f"expert {expert.name}", fix=fix)
    output, pooling = expert.card.head.output, expert.card.head.pooling
    if output.kind == "choice":
        what = ", ".join(sorted(output.choices)) if output.choices else "an option of the row"
    else:
        what = f"a number from {output.range[0]:g} to {output.range[1]:g}" if output.kind == "number" else "a text"
    return f"{what} (pooling: {pooling})"


def merge_heads(experts: Sequence[Parcel], heads: Sequence[Head], weights: Sequence[float]) -> dict[str, Tensor]:
    """The mean of heads by `mean_shares`, named as in an expert; labels are in the first one's order."""
    shares, merged = mean_shares(weights), {}
    orders = [_order(expert, experts[0]) for expert in experts]
    for key, tensor in heads[0].items():
        rows = [
            head[key] if order is None or key not in _BY_LABEL else head[key][order]
            for head, order in zip(heads, orders)
        ]
        merged[f"{HEAD}{key}"] = combine([row.float() for row in rows], shares).to(tensor.dtype)
    return merged


def _order(expert: Parcel, first: Parcel) -> list[int] | None:
    """Where the labels of the first expert's head stand in this one's; None where they are not fixed."""
    mine, its = _labels(expert), _labels(first)
    return None if mine is None or its is None else [mine.index(label) for label in its]


def _labels(expert: Parcel) -> tuple[str, ...] | None:
    head = expert.card.head
    return head.output.choices if head is not None and head.output.kind == "choice" else None


def mean_shares(weights: Sequence[float]) -> list[float]:
    """Weights as shares that sum to 1; all alike where one is negative, or all are 0."""
    total = sum(weights)
    if min(weights) < 0 or not total:
        return [1 / len(weights)] * len(weights)
    return [weight / total for weight in weights]
