"""Prompts of different lengths in one batch, on every family; and what a prompt is, computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.contract.conftest import IDS, MASK, Case, MakeJoint, encoded_tasks, make_method, shake, training_settings
from tests.contract.test_text import EXPERTS, INPUTS, NAMES, OPTIONS, encoded, log_probabilities
from torch import Tensor
from transformers import DynamicCache

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import TINY_FAMILIES, TINY_TEXT_FAMILIES, tiny_backbone, tiny_text_backbone
from multigraft.batching.collate import collate
from multigraft.batching.text_collate import collate_text
from multigraft.errors import UserError
from multigraft.evaluation.generation import generate
from multigraft.evaluation.ranking import score_options
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.base import Method
from multigraft.methods.text_model import TextModel
from multigraft.training.optimizers import Optimizers

LENGTHS = {"a": 2, "b": 5, "c": 3}  # P of each expert
PROMPTS = ["soft_prompt", "p_tuning", "prefix_tuning"]
every_prompt = pytest.mark.parametrize("name", PROMPTS)
every_place = pytest.mark.parametrize("name", ["soft_prompt", "prefix_tuning"])
every_encoder = pytest.mark.parametrize("family", TINY_FAMILIES)
every_writer = pytest.mark.parametrize("family", TINY_TEXT_FAMILIES)


def uneven(bank: Bank) -> None:
    """Give the experts prompts of other lengths, as if they came from elsewhere."""
    generator = torch.Generator().manual_seed(4)
    for name, length in LENGTHS.items():
        specs = bank.stack.specs.items()
        bank.stack.load_expert(name, {k: torch.randn(s.rows(length).shape, generator=generator) for k, s in specs})


def alone(bank: Bank, backbone: Backbone, name: str) -> Bank:
    """A bank of one expert, whose length is its own setting."""
    bank.detach()
    own = Bank(bank.method.model_copy(update={"length": LENGTHS[name]}), backbone, [name])
    own.stack.load_expert(name, bank.stack.expert(name))
    return own


@pytest.fixture
def encoder(family: str, name: str) -> Iterator[tuple[Backbone, Bank]]:
    backbone = tiny_backbone(family)
    bank = Bank(make_method(name, {}), backbone, list(LENGTHS)).eval()
    uneven(bank)
    yield backbone, bank
    bank.detach()


@every_prompt
@every_encoder
def test_prompts_of_different_lengths_on_encoders(encoder: tuple[Backbone, Bank]) -> None:
    backbone, bank = encoder
    experts, local = [0, 1, 2], torch.tensor([1, 0, 2, 1])

    def hidden(ids: Tensor, mask: Tensor) -> Tensor:
        return backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]

    with bank.rows(experts, local, MASK):
        mixed = hidden(IDS, MASK)
        (mixed * MASK[..., None]).square().sum().backward()
    assert bank.stack.values.grad is not None
    gradients = dict(zip(LENGTHS, bank.stack.values.grad, strict=True))
    for name, own in [(name, alone(bank, backbone, name)) for name in LENGTHS]:
        rows = [row for row, expert in enumerate(local) if list(LENGTHS)[expert] == name]
        for row in rows:
            length = int(MASK[row].sum())
            with own.rows(*one_expert(0), MASK[row : row + 1, :length]):  # padded = unpadded
                one = hidden(IDS[row : row + 1, :length], MASK[row : row + 1, :length])
            torch.testing.assert_close(mixed[row, :length], one[0], atol=1e-4, rtol=1e-4)
            one.square().sum().backward()
        found = torch.cat([part.flatten() for _, part in bank.stack._split(gradients[name])])
        expected = bank.stack._row({k: v[0] for k, v in own.stack._split(own.stack.values.grad)})  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
        own.detach()


@pytest.fixture
def writer(family: str, name: str) -> Iterator[TextModel]:
    backbone = tiny_text_backbone(family)
    bank = Bank(make_method(name, {}), backbone, list(NAMES))
    uneven(bank)
    yield TextModel(backbone, bank, tuned=False).eval()
    bank.detach()


@every_place
@every_writer
def test_prompts_of_different_lengths_on_text_models(writer: TextModel, family: str) -> None:
    """Losses, texts and scores of a mixed batch are those of models with one expert each."""
    form = writer.backbone.text_format(30, 8)
    rows = [0, 1, 2, 3, 4]
    with torch.no_grad():
        losses = log_probabilities(writer, family, rows, EXPERTS)
    asked: dict[str, Any] = {"form": form, "max_tokens": 5, "precision": "fp32"}
    texts = {beams: generate(writer, INPUTS, EXPERTS, beams=beams, **asked) for beams in (1, 3)}
    assert generate(writer, INPUTS, EXPERTS, cache=False, **asked) == texts[1]
    scores = score_options(writer, INPUTS, OPTIONS, EXPERTS, form, "fp32")
    for row, expert in enumerate(EXPERTS):
        own = TextModel(writer.backbone, alone(writer.bank, writer.backbone, NAMES[expert]), tuned=False).eval()
        batch = collate_text([encoded(family)], [0], [row], form)
        with torch.no_grad():
            torch.testing.assert_close(losses[row], own(batch), atol=1e-4, rtol=1e-4)
        for beams, found in texts.items():
            assert generate(own, [INPUTS[row]], [0], beams=beams, **asked) == [found[row]]
        lone = score_options(own, [INPUTS[row]], [OPTIONS[row]], [0], form, "fp32")
        mine = slice(scores.first[row], scores.first[row + 1])
        np.testing.assert_allclose(scores.total[mine], lone.total, rtol=1e-4)
        np.testing.assert_allclose(scores.unconditional[mine], lone.unconditional, rtol=1e-4)
        own.bank.detach()


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_padding_does_not_use_a_window_up(family: str) -> None:
    backbone = tiny_text_backbone(family, sliding_window=6)
    bank = Bank(make_method("soft_prompt", {}), backbone, ["a"])
    shake(bank, 1.0)
    model, form = TextModel(backbone, bank, tuned=False).eval(), backbone.text_format(30, 8)
    inputs = ["the cat is big red blue one two", "a", "cat dog", "who is the dog", "no"]
    asked: dict[str, Any] = {"form": form, "max_tokens": 6, "precision": "fp32"}
    found = generate(model, inputs, [0] * 5, **asked)
    assert found == [generate(model, [text], [0], **asked)[0] for text in inputs]
    assert found == generate(model, inputs, [0] * 5, cache=False, **asked)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@every_prompt
def test_a_step_of_different_lengths_is_that_of_each_alone(name: str, optimizer: str, make_joint: MakeJoint) -> None:
    case = Case(make_method(name, {}), "bert")
    settings = training_settings(optimizer=optimizer, clip=0.5)
    # In float64 where it can be: what is nothing but rounding moves too.
    backbone = case.backbone(torch.float64 if optimizer == "adamw" else torch.float32)
    together = make_joint(case, ["three", "number"], backbone=backbone, pooler="none")
    generator = torch.Generator().manual_seed(4)
    for task, length in (("three", 5), ("number", 2)):
        specs = together.bank.stack.specs.items()
        drawn = {k: torch.randn(s.rows(length).shape, generator=generator) for k, s in specs}
        together.bank.stack.load_expert(task, drawn)
    start = {task: together.bank.stack.expert(task) for task in ("three", "number")}
    assert together.parameters_of("three") > together.parameters_of("number") + 3 * 24

    def step(model: torch.nn.Module, tasks: list[int], rows: list[int], data: list) -> None:
        optimizers = Optimizers(model, settings)  # type: ignore[arg-type]
        for _ in range(2):
            model(collate(data, tasks, rows, 0))[:, 0].square().sum().backward()
            optimizers.step(sorted(set(tasks)), 1.0)

    step(together, [0, 1, 1, 0], [0, 1, 2, 3], list(encoded_tasks()))
    together.bank.detach()
    for index, (task, rows) in enumerate({"three": [0, 3], "number": [1, 2]}.items()):
        own = make_joint(case, [task], backbone=backbone, noise=0.0, pooler="none")
        own.bank.stack.load_expert(task, start[task])
        step(own, [0, 0], rows, [encoded_tasks()[index]])
        own.bank.detach()
        for key, moved in own.bank.stack.expert(task).items():
            assert not torch.equal(moved, start[task][key])
            torch.testing.assert_close(together.bank.stack.expert(task)[key], moved, atol=1e-6, rtol=1e-5)


def model_and_prompt(method: Method, backbone: Backbone) -> tuple[Bank, dict[str, Tensor]]:
    bank = Bank(method, backbone, ["a"]).eval()
    shake(bank, 0.3)
    return bank, bank.stack.expert("a")


@every_encoder
def test_a_soft_prompt_stands_in_front_of_the_embedded_text(family: str) -> None:
    backbone = tiny_backbone(family)
    bank, expert = model_and_prompt(make_method("soft_prompt", {}), backbone)
    embedded = torch.cat([expert["prompt"].expand(len(IDS), -1, -1), backbone.embed(IDS)], dim=1)
    mask = torch.cat([MASK.new_ones(len(IDS), 3), MASK], dim=1)
    own, whole = ({"token_type_ids": types} for types in (IDS % 2, F.pad(IDS % 2, (3, 0))))
    if family not in ("bert", "electra"):  # the others have one type of token, or none
        own, whole = {}, {}
    with torch.no_grad():
        with bank.rows(*one_expert(0), MASK):
            found = backbone.model(input_ids=IDS, attention_mask=MASK, **own).last_hidden_state
        wanted = backbone.model(inputs_embeds=embedded, attention_mask=mask, **whole).last_hidden_state[:, 3:]
    torch.testing.assert_close(found, wanted)


@every_writer
def test_a_soft_prompt_is_read_by_the_first_stack(family: str) -> None:
    backbone = tiny_text_backbone(family)
    bank, expert = model_and_prompt(make_method("soft_prompt", {}), backbone)
    embedded = torch.cat([expert["prompt"].expand(len(IDS), -1, -1), backbone.embed(IDS)], dim=1)
    mask = torch.cat([MASK.new_ones(len(IDS), 3), MASK], dim=1)
    more = {"decoder_input_ids": IDS[:, :4]} if backbone.family.kind == "encoder_decoder" else {}
    with torch.no_grad():
        with bank.rows(*one_expert(0), MASK):
            found = backbone.model(input_ids=IDS, attention_mask=MASK, **more).logits
        wanted = backbone.model(inputs_embeds=embedded, attention_mask=mask, **more).logits
    if not more:
        wanted = wanted[:, 3:]
    seen = MASK.bool() if not more else slice(None)
    torch.testing.assert_close(found[seen], wanted[seen])


@pytest.mark.parametrize("width", [None, 5])
def test_a_prefix_is_a_cache_of_keys_and_values(width: int | None) -> None:
    backbone = tiny_text_backbone("gpt2")
    bank, expert = model_and_prompt(make_method("prefix_tuning", {"width": width}), backbone)
    cache = DynamicCache()
    for layer in range(backbone.depth):
        parts = []
        for part in ("k", "v"):
            if width is None:
                flat = expert[f"{layer}.{part}"]
            else:
                inner = torch.tanh(expert["decoder.tokens"] @ expert["decoder.weight"].T + expert["decoder.bias"])
                flat = inner @ expert[f"{layer}.{part}.weight"].T + expert[f"{layer}.{part}.bias"]
            parts.append(flat.unflatten(-1, (4, -1)).transpose(0, 1).expand(len(IDS), -1, -1, -1))
        cache.update(*parts, layer)
    mask = torch.cat([MASK.new_ones(len(IDS), 3), MASK], dim=1)
    with torch.no_grad():
        with bank.rows(*one_expert(0), MASK):
            found = backbone.model(input_ids=IDS, attention_mask=MASK).logits
        wanted = backbone.model(input_ids=IDS, attention_mask=mask, past_key_values=cache).logits
    torch.testing.assert_close(found[MASK.bool()], wanted[MASK.bool()])


@pytest.mark.parametrize("name", PROMPTS)
def test_heads_read_the_text(name: str, make_joint: MakeJoint) -> None:
    """The first token is [CLS] and the mean is over the text, whatever the length of the prompt."""
    case = Case(make_method(name, {}), "bert")
    for pooling in ("first", "mean"):
        model = make_joint(case, pooling=pooling)
        with torch.no_grad():
            found = model.answer_all(IDS, MASK, None, [1])[0]
            with model.bank.rows(*one_expert(1), MASK):
                hidden = case.run(model.backbone)
            assert hidden.shape == (*IDS.shape, 24)
            weight = MASK[..., None] / MASK.sum(1)[:, None, None]
            read = hidden[:, 0] if pooling == "first" else (hidden * weight).sum(1)
            torch.testing.assert_close(found, model.heads(read, *one_expert(1)))
        model.bank.detach()


@pytest.mark.parametrize("name", PROMPTS)
def test_what_leaves_no_room_is_refused(name: str) -> None:
    backbone = tiny_backbone("bert")
    method = make_method(name, {"length": 30})
    method.check(backbone, 10)
    with pytest.raises(UserError, match=f"{name}.length: 30 positions in front of 11 tokens are more than the 40"):
        method.check(backbone, 11)
    with pytest.raises(UserError, match="lower length"):
        make_method(name, {"length": 40}).check(backbone)
    bank = Bank(method, backbone, ["a"])
    ids = torch.full((1, 11), 9)
    with (
        bank.rows(*one_expert(0), torch.ones_like(ids)),
        pytest.raises(UserError, match="do not fit in the 40 positions"),
    ):
        backbone.model(input_ids=ids)


@pytest.mark.parametrize(("family", "tokens"), [("t5", 20), ("llama", 28)])
def test_texts_leave_room_for_a_prompt(family: str, tokens: int) -> None:
    backbone = tiny_text_backbone(family)
    model = TextModel(backbone, Bank(make_method("soft_prompt", {"length": 12}), backbone, ["a"]), tuned=False)
    model.check_lengths(backbone.text_format(20, 8))
    with pytest.raises(UserError, match=rf"12 positions in front of {tokens + 9} tokens.*at most 28 tokens"):
        model.check_lengths(backbone.text_format(29, 8))


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_packed_texts_are_refused(family: str, name: str) -> None:
    backbone = tiny_text_backbone(family)
    model = TextModel(backbone, Bank(make_method(name, {}), backbone, list(NAMES)), tuned=False)
    with pytest.raises(UserError, match=f"{name} has one prompt for a row.*say packing: false"):
        log_probabilities(model, family, [0, 1, 2], [1] * 3, packs=[[2, 0], [1]])
    mask = torch.ones(1, 1, 4, 4)
    with model.bank.rows(*one_expert(0), mask), pytest.raises(UserError, match="several texts"):
        backbone.model(input_ids=IDS[:1, :4], attention_mask=mask, **(
            {"decoder_input_ids": IDS[:1, :2]} if family == "t5" else {}
        ))  # fmt: skip
