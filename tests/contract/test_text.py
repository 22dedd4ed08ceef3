"""The promises on text-to-text backbones: every method that has a place there, on every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from tests.contract.conftest import VARIANTS, make_method, shake, training_settings

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import TINY_TEXT_FAMILIES, tiny_text_backbone
from multigraft.batching.text import TextEncoded, encode_text
from multigraft.batching.text_collate import collate_text
from multigraft.errors import UserError
from multigraft.evaluation.generation import generate
from multigraft.evaluation.ranking import score_options
from multigraft.methods.bank import Bank
from multigraft.methods.base import METHODS, Method
from multigraft.methods.text_model import TextModel
from multigraft.training.objective import TextObjective
from multigraft.training.optimizers import Optimizers

NAMES = ("a", "b", "c")
EXPERTS = [2, 0, 1, 2, 0]  # of the texts below: neither in order nor each once
INPUTS = ["a cat is big", "the dog", "red blue 1 2 3", "who", ""]
TARGETS = ["good", "bad one", "no", "why where one", "x y z"]
OPTIONS = [["good", "bad one"], ["no", "yes", "why where one"], ["one", "two more"], ["a", "b"], ["x", "y z"]]
PACKS = [[2, 0], [4, 1, 3]]

# Which methods have a place in which kind of backbone; the others are refused before anything is computed.
EVERYWHERE = {
    "adapter", "bitfit", "ffn", "full", "heads_only", "lhuc", "lora", "low_rank", "p_tuning", "prefix_tuning",
    "residual_adapter", "soft_prompt", "top_linear",
}  # fmt: skip
ENCODER_ONLY = {"pal"}  # with layers: encoder
WITH_HEADS = {"top_attention", "top_ffn", "top_layer"}
NO_BIASES = {"t5", "mt5", "llama", "mistral", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3"}

WIDE = torch.float64


@cache
def backbone_of(family: str, dtype: torch.dtype = WIDE) -> Backbone:
    """A frozen backbone of the family, the same for all tests."""
    backbone = tiny_text_backbone(family)
    backbone.model.to(dtype)
    return backbone


@cache
def encoded(family: str) -> TextEncoded:
    """The texts with their targets."""
    backbone = backbone_of(family)
    return encode_text(list(zip(INPUTS, TARGETS, strict=True)), backbone.tokenizer, backbone.text_format(30, 8))


def fits(method: str, family: str) -> bool:
    """Has the method a place in the family?"""
    if method == "bitfit":
        return family not in NO_BIASES
    decoder = backbone_of(family).family.kind == "decoder"
    return method in EVERYWHERE or (method in ENCODER_ONLY and not decoder)


def text_cases() -> Iterator[tuple[Method, str]]:
    """Every method where it fits; with the settings that the encoders' contract has besides, on two families."""
    for name in METHODS.names():
        where = {"layers": "encoder"} if name in ENCODER_ONLY else {}
        for number, settings in enumerate(({}, *(() if where else VARIANTS.get(name, ())))):
            for family in TINY_TEXT_FAMILIES if number == 0 else ("t5", "llama"):
                if fits(name, family):
                    yield make_method(name, {**settings, **where}), family


CASES = list(text_cases())
IDS = [f"{family}-{method.name}-{method.describe()}" for method, family in CASES]
every_case = pytest.mark.parametrize(("method", "family"), CASES, ids=IDS)
every_family = pytest.mark.parametrize("family", TINY_TEXT_FAMILIES)
MakeModel = Callable[..., TextModel]


@pytest.fixture
def make_model() -> Iterator[MakeModel]:
    """A maker of text models, whose banks are taken off after the test."""
    banks: list[Bank] = []

    def make(method: Method, family: str, *, noise: float = 0.3, backbone: Backbone | None = None) -> TextModel:
        backbone = backbone or backbone_of(family)
        banks.append(Bank(method, backbone, NAMES).to(next(backbone.model.parameters()).dtype))
        shake(banks[-1], noise)
        return TextModel(backbone, banks[-1], tuned=False).eval()

    yield make
    for bank in banks:
        bank.detach()


def lora() -> Method:
    """A method that every family has a place for."""
    return make_method("lora", {"maps": ["q", "v", "down"]})


# Methods of every kind of place: in the layers, before the first one, and in front of keys and values.
every_kind = pytest.mark.parametrize("name", ["lora", "soft_prompt", "prefix_tuning"])


def method_of(name: str) -> Method:
    """One of every kind."""
    return lora() if name == "lora" else make_method(name, {})


def log_probabilities(model: TextModel, family: str, rows: list[int], experts: list[int], **more: object) -> list:
    """Those of the target tokens of each of the rows."""
    form = model.backbone.text_format(30, 8)
    batch = collate_text([encoded(family)], [0] * len(rows), rows, form, experts, **more)  # type: ignore[arg-type]
    values = model(batch)
    return [values[batch.owner == row] for row in range(len(rows))]


@every_case
def test_mixed_is_alone(method: Method, family: str, make_model: MakeModel) -> None:
    model = make_model(method, family)
    mixed = log_probabilities(model, family, [0, 1, 2, 3, 4], EXPERTS)
    for row, expert in enumerate(EXPERTS):
        torch.testing.assert_close(mixed[row], log_probabilities(model, family, [row], [expert])[0])


@every_case
def test_identity_at_the_start(method: Method, family: str, make_model: MakeModel) -> None:
    if not method.identity:
        pytest.skip("the method does not promise it")
    bare = log_probabilities(make_model(make_method("heads_only", {}), family), family, [0, 1, 2, 3, 4], [0] * 5)
    fresh = log_probabilities(make_model(method, family, noise=0.0), family, [0, 1, 2, 3, 4], EXPERTS)
    assert all(torch.equal(a, b) for a, b in zip(bare, fresh, strict=True))


@pytest.mark.parametrize("name", METHODS.names())
@every_family
def test_a_method_without_a_place_is_refused(name: str, family: str) -> None:
    method = make_method(name, {})
    if name in EVERYWHERE and fits(name, family):
        method.check(backbone_of(family))
    else:
        with pytest.raises(UserError):
            method.check(backbone_of(family))


def test_the_table_of_places_names_every_method() -> None:
    assert sorted(EVERYWHERE | ENCODER_ONLY | WITH_HEADS) == METHODS.names()


@every_family
def test_the_layers_of_a_half(family: str) -> None:
    backbone = backbone_of(family)
    if backbone.family.kind == "decoder":
        with pytest.raises(UserError, match="there is no encoder"):
            make_method("lora", {"layers": "encoder"}).check(backbone)
        return
    lower = make_method("lora", {"layers": "encoder"})
    upper = make_method("lora", {"layers": "decoder", "maps": ["cross_q", "cross_v"]})
    indexes = [method.indexes(backbone) for method in (lower, upper)]  # type: ignore[attr-defined]
    assert indexes[0] + indexes[1] == list(range(backbone.depth))
    assert [backbone.causal(i) for i in indexes[0]] == [False] * len(indexes[0])


@every_kind
@every_family
def test_cached_generation_is_uncached(family: str, name: str, make_model: MakeModel) -> None:
    # In float32: transformers' masks are not made for float64.
    model = make_model(method_of(name), family, backbone=backbone_of(family, torch.float32))
    form = model.backbone.text_format(30, 8)
    for beams in (1, 3):
        cached, plain = (
            generate(model, INPUTS, EXPERTS, form, max_tokens=6, beams=beams, cache=cache, precision="fp32")
            for cache in (True, False)
        )
        assert cached == plain
        for text, expert, found in zip(INPUTS, EXPERTS, cached, strict=True):
            assert generate(model, [text], [expert], form, max_tokens=6, beams=beams, precision="fp32") == [found]


@every_kind
@every_family
def test_ranks_are_those_of_plain_passes(family: str, name: str, make_model: MakeModel) -> None:
    model = make_model(method_of(name), family)
    backbone, form = model.backbone, model.backbone.text_format(30, 8)
    scores = score_options(model, INPUTS, OPTIONS, EXPERTS, form, "fp32")
    totals, bare, tokens = [], [], []
    for text, options, expert in zip(INPUTS, OPTIONS, EXPERTS, strict=True):
        for option in options:
            for known, head in ((totals, text), (bare, "")):
                data = encode_text([(head, option)], backbone.tokenizer, form)
                values = model(collate_text([data], [0], [0], form, [expert]))
                known.append(float(values[:-1].detach().sum()))  # without the end token
            tokens.append(len(data.target(0)) - 1)
    np.testing.assert_allclose(scores.total, totals, rtol=1e-5)
    np.testing.assert_allclose(scores.unconditional, bare, rtol=1e-5)
    assert scores.tokens.tolist() == tokens
    assert scores.bytes.tolist() == [len(option.encode()) for options in OPTIONS for option in options]
    assert scores.first.tolist() == [0, 2, 5, 7, 9, 11]


@every_family
def test_packed_is_unpacked(family: str, make_model: MakeModel) -> None:
    """Losses and gradients, at the rounding of float64."""
    model = make_model(lora(), family)
    if not model.backbone.family.packs:
        with pytest.raises(UserError, match="cannot keep packed texts apart"):
            log_probabilities(model, family, [0, 1, 2, 3, 4], [1] * 5, packs=PACKS)
        return
    found = []
    for packs in (None, PACKS):
        values = log_probabilities(model, family, [0, 1, 2, 3, 4], [1] * 5, packs=packs)
        torch.cat(values).sum().backward()
        found.append((torch.cat(values).detach(), model.bank.stack.values.grad))
        model.bank.stack.values.grad = None
    for plain, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, plain)


@every_family
def test_packed_texts_do_not_see_each_other(family: str, make_model: MakeModel) -> None:
    model = make_model(lora(), family)
    if not model.backbone.family.packs:
        pytest.skip("the family does not pack")
    with_first = log_probabilities(model, family, [0, 1], [1, 1], packs=[[0, 1]])[1]
    with_other = log_probabilities(model, family, [2, 1], [1, 1], packs=[[0, 1]])[1]
    torch.testing.assert_close(with_first, with_other)


@pytest.mark.parametrize("weighting", ["token", "example"])
@every_kind
@every_family
def test_together_is_apart(family: str, name: str, weighting: str, make_model: MakeModel) -> None:
    """Two steps of three experts in one bank, and of each alone on the same rows; what is not drawn does not move."""
    draws = [(np.array([0, 2, 2, 0]), np.array([0, 1, 2, 3])), (np.array([2, 2, 1, 0]), np.array([4, 0, 1, 2]))]

    def trained(only: int | None) -> torch.Tensor:
        model = make_model(method_of(name), family)
        objective = TextObjective(
            [encoded(family)] * 3, model.backbone.text_format(30, 8), weighting=weighting,  # type: ignore[arg-type]
            packing=None, together=False,
        )  # fmt: skip
        optimizers = Optimizers(model, training_settings())
        for tasks, rows in draws:
            mine = np.full(len(tasks), True) if only is None else tasks == only
            if not mine.any():
                continue
            batch = objective.collate(tasks[mine], rows[mine])
            weights = torch.from_numpy(objective.weights(tasks[mine], rows[mine], independent=True)).to(WIDE)
            (objective.losses(model(batch), batch).to(WIDE) @ weights).backward()
            optimizers.step(np.unique(tasks[mine]).tolist(), 1.0)
        return model.bank.stack.values.detach().clone()

    together, start = trained(None), make_model(method_of(name), family).bank.stack.values.detach()
    for expert in range(3):
        alone = trained(expert)
        torch.testing.assert_close(alone[expert], together[expert], rtol=1e-4, atol=1e-6)
        others = [i for i in range(3) if i != expert]
        assert torch.equal(alone[others], start[others])
        assert not torch.equal(alone[expert], start[expert])


@every_family
def test_the_head_reads_what_predicts(family: str, make_model: MakeModel) -> None:
    """The log-probabilities are those of the model's own forward over whole rows."""
    model = make_model(make_method("heads_only", {}), family)
    backbone, form, data = model.backbone, model.backbone.text_format(30, 8), encoded(family)
    values = log_probabilities(model, family, [1], [0])[0]
    ids, target = torch.from_numpy(data.input(1)).long()[None], torch.from_numpy(data.target(1)).long()
    if form.kind == "encoder_decoder":
        written = torch.cat([torch.tensor([form.start_id]), target[:-1]])[None]
        logits = backbone.model(input_ids=ids, decoder_input_ids=written).logits[0]
    else:
        logits = backbone.model(input_ids=torch.cat([ids, target[None, :-1]], dim=1)).logits[0, ids.shape[1] - 1 :]
    wanted = logits.float().log_softmax(-1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(values, wanted)


@pytest.mark.parametrize("packing", [None, 12])
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_the_ledger_counts_the_positions_of_the_batch(family: str, packing: int | None) -> None:
    form, tasks, rows = backbone_of(family).text_format(30, 8), np.zeros(5, dtype=np.int64), np.arange(5)
    objective = TextObjective([encoded(family)], form, weighting="token", packing=packing, together=True)
    batch = objective.collate(tasks, rows)
    total = batch.ids.numel() + (0 if batch.source is None else batch.source.numel())
    assert objective.positions(tasks, rows).sum() == pytest.approx(total)
