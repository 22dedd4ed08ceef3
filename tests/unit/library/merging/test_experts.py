"""Experts merged into one: exact in the updates of LoRA, heads where labels agree, one line for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from multigraft.backbones.tiny import tiny_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card, HeadCard
from multigraft.library.merging.base import MERGES, Held, parse_merge
from multigraft.library.merging.experts import merge_experts
from multigraft.library.merging.low_rank import Update, factor, factor_sum, inner_products
from multigraft.library.parcel import Parcel
from multigraft.methods.bank import Bank
from multigraft.methods.base import method_record, parse_method
from multigraft.tasks.outputs import Choice, Number

MakeCard = Callable[..., Card]
MAPS = {"0.q": (7, 5), "1.v": (5, 6)}  # outputs x inputs


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lora(card: Card, name: str, seed: int, rank: int = 2, alpha: float = 4.0, **changes: Any) -> Parcel:
    """An expert of LoRA, its labels those of `choices` if any."""
    tensors: dict[str, Tensor] = {}
    for place, (key, (outputs, inputs)) in enumerate(MAPS.items()):
        tensors[f"{key}.a"], tensors[f"{key}.b"] = (
            noise(seed + place, rank, inputs),
            noise(9 * seed + place, outputs, rank),
        )
    head = None
    if choices := changes.pop("choices", None):
        tensors |= {"head.weight": noise(seed, len(choices), 4), "head.bias": noise(seed, len(choices))}
        head = HeadCard(pooling="first", output=Choice(field="label", choices=choices))
    method = method_record(parse_method({"name": "lora", "rank": rank, "alpha": alpha}))
    return Parcel(name, tensors, card.model_copy(update={"method": method, "head": head} | changes))


def update_of(expert: Parcel, key: str) -> Tensor:
    """`Delta W` as the method computes it."""
    scale = expert.card.method["alpha"] / expert.card.method["rank"]
    return scale * expert.tensors[f"{key}.b"] @ expert.tensors[f"{key}.a"]


@pytest.fixture
def experts(make_card: MakeCard) -> list[Parcel]:
    """Three of other ranks and alphas."""
    card = make_card()
    return [lora(card, "a", 1), lora(card, "b", 2, rank=3, alpha=1.0), lora(card, "c", 3, rank=1, alpha=8.0)]


def test_updates_are_added_up_not_factors(experts: list[Parcel]) -> None:
    found = merge_experts(parse_merge("weighted"), experts, "m", weights=[1, 2, 1], rank=6)
    for key in MAPS:
        expected = sum(share * update_of(expert, key) for share, expert in zip((0.25, 0.5, 0.25), experts))
        torch.testing.assert_close(update_of(found.parcel, key), expected)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.errors.keys() == MAPS.keys()
    assert found.parcel.card.method == {**experts[0].card.method, "rank": 6}
    assert {key: tensor.shape for key, tensor in found.parcel.tensors.items()} == {
        "0.q.a": (6, 5), "0.q.b": (7, 6), "1.v.a": (6, 6), "1.v.b": (5, 6)
    }  # fmt: skip


def test_a_lower_rank_is_the_best_one_and_its_error_is_told(experts: list[Parcel]) -> None:
    found = merge_experts(parse_merge("uniform"), experts, "m")
    assert found.parcel.card.method["rank"] == 3  # the largest of them
    lost = whole = 0.0
    for key in MAPS:
        exact = sum(update_of(expert, key) for expert in experts) / 3
        values = torch.linalg.svdvals(exact)
        assert found.errors[key] == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-4)
        assert float((update_of(found.parcel, key) - exact).norm() / exact.norm()) == pytest.approx(
            found.errors[key], rel=1e-4
        )
        lost, whole = lost + float(values[3:].square().sum()), whole + float(values.square().sum())
    assert found.error == pytest.approx((lost / whole) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("name", MERGES.names())
def test_every_merge_is_that_of_the_whole_updates(name: str, experts: list[Parcel]) -> None:
    merge = parse_merge(name)
    chosen = experts[: merge.exactly or 3]
    given: dict[str, Any] = {}
    if "weights" in merge.needs:
        given["weights"] = [0.5, 0.2, 0.3]
    if "score" in merge.needs:
        given["score"] = lambda weights: -abs(sum(weights) - 1) - abs(weights[0])
    if name == "fisher":
        given["statistics"] = [{key: Held(noise(i, *shape).square()) for key, shape in MAPS.items()} for i in range(3)]
    if name == "regmean":
        inputs = [{key: noise(i, 9, shape[1]) for key, shape in MAPS.items()} for i in range(3)]
        given["statistics"] = [{key: Held(x.T @ x) for key, x in each.items()} for each in inputs]
    found = merge_experts(merge, chosen, "m", rank=7, **given)
    # The same merge of the updates written out, as parameters of a method that has no factors.
    dense = [
        Parcel(
            each.name,
            {key: update_of(each, key) for key in MAPS},
            each.card.model_copy(update={"method": {"name": "pal"}}),
        )
        for each in chosen
    ]
    expected = merge_experts(merge, dense, "m", **given)
    for key in MAPS:
        torch.testing.assert_close(update_of(found.parcel, key), expected.parcel.tensors[key], atol=1e-5, rtol=1e-5)
    assert found.weights == expected.weights
    for one, other in zip(found.interference.overall.cosine, expected.interference.overall.cosine):
        assert one == pytest.approx(other, abs=1e-5)
    assert found.interference.overall.conflicts == expected.interference.overall.conflicts
    assert (expected.error, expected.errors) == (None, {})


def test_the_merged_expert_enters_a_bank_and_acts_as_the_sum(make_card: MakeCard) -> None:
    backbone = tiny_backbone("bert")
    bank = Bank(parse_method({"name": "lora", "rank": 2}), backbone, ["a", "b"]).eval()
    with torch.no_grad():
        bank.stack.values.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    card = make_card(method=method_record(bank.method))
    parcels = [Parcel(name, bank.stack.expert(name), card) for name in "ab"]
    found = merge_experts(parse_merge("task_arithmetic", {"scale": 1.0}), parcels, "m", rank=4)
    bank.detach()
    with torch.no_grad():
        weight = backbone.model.get_submodule("encoder.layer.0.attention.self.query").weight
        update = sum(8.0 * bank.stack.expert(name)["0.q.b"] @ bank.stack.expert(name)["0.q.a"] for name in "ab")
        merged = Bank(parse_method(found.parcel.card.method), backbone, ["m"]).eval()
        merged.stack.load_expert("m", found.parcel.tensors)
        x = noise(1, 1, 3, weight.shape[1])
        with merged.rows([0], None, torch.ones(1, 3)):
            out = backbone.model.get_submodule("encoder.layer.0.attention.self.query")(x)
        merged.detach()
        plain = backbone.model.get_submodule("encoder.layer.0.attention.self.query")(x)
        torch.testing.assert_close(out - plain, x @ update.T, atol=1e-5, rtol=1e-4)


def test_the_card_says_what_it_was_made_from(make_card: MakeCard) -> None:
    card = make_card(template="t1")
    parts = [lora(card, "a", 1, task="x", licence="MIT"), lora(card, "b", 2, task="y"), lora(card, "c", 3, task="x")]
    made = merge_experts(parse_merge("dare", {"seed": 5}), parts, "m").parcel
    assert made.name == "m"
    assert (made.card.task, made.card.licence, made.card.template) == ("x + y", "MIT and CC0", "t1")
    assert (made.card.parents, made.card.scores, made.card.steps, made.card.seed) == (("a", "b", "c"), {}, 0, 5)
    assert (made.card.backbone_fingerprint, made.card.head) == ("f", None)
    assert made.card.versions["torch"] == torch.__version__


def test_parameters_of_other_methods_are_merged_as_they_are(make_card: MakeCard) -> None:
    card = make_card(method={"name": "soft_prompt", "length": 3})
    parts = [Parcel(name, {"prompt": noise(i, 3, 4)}, card) for i, name in enumerate("ab")]
    found = merge_experts(parse_merge("uniform"), parts, "m")
    torch.testing.assert_close(found.parcel.tensors["prompt"], (noise(0, 3, 4) + noise(1, 3, 4)) / 2)
    longer = [parts[0], Parcel("b", {"prompt": noise(0, 5, 4)}, make_card(method={"name": "soft_prompt", "length": 5}))]
    with pytest.raises(UserError, match="b: tensor 'prompt' is 5 x 4 float32, in a 3 x 4 float32"):
        merge_experts(parse_merge("uniform"), longer, "m")


def test_heads_of_the_same_labels_are_averaged(make_card: MakeCard) -> None:
    card = make_card()
    parts = [lora(card, "a", 1, choices=("no", "yes", "so")), lora(card, "b", 2, choices=("so", "no", "yes"))]
    found = merge_experts(parse_merge("weighted"), parts, "m", weights=[3, 1]).parcel
    first, second = parts[0].tensors["head.weight"], parts[1].tensors["head.weight"][[1, 2, 0]]
    torch.testing.assert_close(found.tensors["head.weight"], 0.75 * first + 0.25 * second)
    assert found.card.head == parts[0].card.head
    away = merge_experts(parse_merge("task_arithmetic"), parts, "m", weights=[1, -1]).parcel
    torch.testing.assert_close(away.tensors["head.weight"], (first + second) / 2)
    none = merge_experts(parse_merge("uniform"), parts, "m", heads=False).parcel
    assert none.card.head is None
    assert not any(key.startswith("head.") for key in none.tensors)


def test_other_heads_are_refused_by_name(make_card: MakeCard) -> None:
    card = make_card()
    one = lora(card, "a", 1, choices=("no", "yes"))
    number = lora(card, "n", 2, choices=("x", "y"))
    head = HeadCard(pooling="first", output=Number(field="l", range=(0, 5)))
    number = number._replace(card=number.card.model_copy(update={"head": head}))
    wide = lora(card, "w", 2, choices=("no", "yes"))
    wide.tensors["head.pooler.weight"] = noise(0, 4, 4)
    unsaid = lora(card, "u", 2, choices=("no", "yes"), head=None)
    for other, message in (
        (lora(card, "b", 2, choices=("no", "maybe")), r"expert b: its head answers maybe, no .*, that of 'a' no, yes"),
        (lora(card, "b", 2), "expert b: its head answers nothing"),
        (number, "expert n: its head answers a number from 0 to 5"),
        (wide, "expert w: its head is built unlike"),
        (unsaid, "expert u: has a head, but its card says nothing of it"),
    ):
        with pytest.raises(UserError, match=message):
            merge_experts(parse_merge("uniform"), [one, other], "m")


def test_experts_that_do_not_go_together_are_named(make_card: MakeCard) -> None:
    card = make_card()
    one = lora(card, "a", 1)
    pal = Parcel("p", one.tensors, make_card(method={"name": "pal"}))
    wider = lora(card, "w", 2)
    wider = wider._replace(card=wider.card.model_copy(update={"method": {**wider.card.method, "maps": ["q"]}}))
    for other, message in (
        (
            lora(card, "b", 2, backbone_fingerprint="g"),
            "expert b: was trained on a backbone with fingerprint g, 'a' on f",
        ),
        (lora(card, "b", 2, tokenizer_fingerprint="g"), "a tokenizer with fingerprint g"),
        (pal, "expert p: its method has name 'pal', that of 'a' 'lora'"),
        (wider, "expert w: its method has maps"),
    ):
        with pytest.raises(UserError, match=message):
            merge_experts(parse_merge("uniform"), [one, other], "m")
    with pytest.raises(UserError, match="no rank of pal"):
        merge_experts(parse_merge("uniform"), [pal, pal], "m", rank=2)


def test_sums_in_factors_never_make_the_matrix() -> None:
    updates = [Update(noise(i, 3000, 2), noise(i + 9, 2, 4000), 0.5) for i in range(3)]
    found = factor_sum(updates, [1.0, -2.0, 0.5], 6)
    rows = slice(0, 4)
    exact = sum(share * 0.5 * update.b[rows] @ update.a for share, update in zip([1.0, -2.0, 0.5], updates))
    torch.testing.assert_close((found.b[rows] @ found.a).float(), exact)
    assert found.error < 1e-6
    small = [Update(noise(i, 5, 2), noise(i + 9, 2, 4), 0.5) for i in range(4)]
    whole = torch.stack([(update.scale * update.b @ update.a).flatten() for update in small]).double()
    torch.testing.assert_close(inner_products(small), whole @ whole.T, rtol=1e-5, atol=1e-5)


def test_a_rank_beyond_the_matrix_is_filled_with_zeros() -> None:
    matrix = noise(0, 3, 4)
    found = factor(matrix, 6)
    assert (found.b.shape, found.a.shape) == ((3, 6), (6, 4))
    torch.testing.assert_close(found.b @ found.a, matrix)
    assert factor(torch.zeros(3, 4), 2).error == 0


def test_a_block_of_an_update_is_that_of_the_product() -> None:
    update = Update(noise(0, 5, 2), noise(1, 2, 7), 0.5)
    whole = (0.5 * update.b @ update.a).flatten()
    for start, stop in ((0, 35), (3, 5), (6, 20), (34, 35)):
        torch.testing.assert_close(update.block(start, stop), whole[start:stop])
