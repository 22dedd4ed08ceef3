"""Soft prompts, prompt encoders and prefixes: settings, starts, lengths, and the papers' optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.batching.text import encode_text
from multigraft.batching.text_collate import collate_text
from multigraft.errors import UserError
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.p_tuning import PTuning
from multigraft.methods.prompt_init import from_text
from multigraft.methods.soft_prompt import SoftPrompt
from multigraft.methods.text_model import TextModel
from multigraft.training.optimizers import Optimizers
from multigraft.training.settings import TrainingSettings

BACKBONE = tiny_backbone("bert")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "soft_prompt", "length": 0}, "'length': Input should be greater than 0"),
        ({"name": "soft_prompt", "init": "text"}, "'init: text' and 'text' go together"),
        ({"name": "soft_prompt", "text": "a cat"}, "'init: text' and 'text' go together"),
        ({"name": "soft_prompt", "init": "words"}, "'init'"),
        ({"name": "p_tuning", "encoder": "gru"}, "'encoder'"),
        ({"name": "prefix_tuning", "attentions": "cross"}, "'attentions'"),
    ],
)
def test_bad_settings(value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_method(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_encoder_has_no_decoder() -> None:
    with pytest.raises(UserError, match=r"prefix_tuning.attentions: tiny-bert has no decoder; say every"):
        parse_method({"name": "prefix_tuning", "length": 3, "attentions": "decoder"}).check(BACKBONE)


def test_how_an_expert_starts() -> None:
    text = SoftPrompt(length=5, init="text", text="the cat")
    started = Bank(text, BACKBONE, ["a"]).stack.expert("a")["prompt"]
    assert torch.equal(started, from_text(BACKBONE, "the cat", 5))
    assert Bank(SoftPrompt(length=5, init="random"), BACKBONE, ["a"]).stack.values.abs().max() <= 0.5
    drawn = Bank(SoftPrompt(length=5), BACKBONE, ["a", "b"]).stack
    table = BACKBONE.embed(torch.arange(67))
    assert all(bool((table == vector).all(1).any()) for name in "ab" for vector in drawn.expert(name)["prompt"])
    assert not torch.equal(drawn.values[0], drawn.values[1])


def test_a_narrow_embedding_has_narrow_prompts() -> None:
    electra = tiny_backbone("electra")
    assert SoftPrompt(length=5).specs(electra)["prompt"].shape == (5, 16)


def test_lengths_in_one_bank() -> None:
    stack = Bank(SoftPrompt(length=3), BACKBONE, ["a", "b"]).stack
    first, second = stack.expert("a")["prompt"], stack.expert("b")["prompt"]
    longer, shorter = torch.randn(5, 24), torch.randn(2, 24)
    stack.add("long", {"prompt": longer})
    stack.add("short", {"prompt": shorter})
    stack.add("fresh")
    assert stack.lengths == [3, 3, 5, 2, 3]
    assert (stack.longest, stack.width) == (5, 5 * 24)
    for name, prompt in {"a": first, "b": second, "long": longer, "short": shorter}.items():
        assert torch.equal(stack.expert(name)["prompt"], prompt)
        assert stack.size(name) == prompt.numel()
    stack.remove("b")
    assert stack.lengths == [3, 5, 2, 3]
    stack.load_expert("a", {"prompt": shorter})
    assert torch.equal(stack.expert("a")["prompt"], shorter)
    assert not stack.values[0, : 3 * 24].any()
    with pytest.raises(UserError, match=r"tensor 'prompt' is \(2, 23\), expected \(2, 24\)"):
        stack.load_expert("a", {"prompt": torch.zeros(2, 23)})
    with pytest.raises(UserError, match=r"\(0, 24\)"):
        stack.load_expert("a", {"prompt": torch.zeros(0, 24)})


def test_an_lstm_reads_prompts_of_one_length() -> None:
    bank = Bank(PTuning(length=3, encoder="lstm"), BACKBONE, ["a"])
    tensors = bank.stack.expert("a")
    with pytest.raises(UserError, match="tokens"):
        bank.stack.load_expert("a", {**tensors, "tokens": torch.zeros(4, 24)})


def test_the_papers_optimizer_learns() -> None:
    """Adafactor at a constant 0.3, decay 1e-5, no scaling by parameter size (arXiv 2104.08691, section 3.1)."""
    backbone = tiny_text_backbone("t5")
    model = TextModel(backbone, Bank(SoftPrompt(length=5), backbone, ["a", "b"]), tuned=False).train()
    settings = TrainingSettings(
        steps=20,
        optimizer="adafactor",
        module_learning_rate=0.3,
        weight_decay=1e-5,
        decay="constant",
        warmup=0,
        clip=None,
    )
    optimizers, form = Optimizers(model, settings), backbone.text_format(30, 8)
    data = encode_text([("a cat is big", "good"), ("the dog", "bad one"), ("who", "no")], backbone.tokenizer, form)
    batch = collate_text([data], [0, 0, 0], [0, 1, 2], form, [0, 1, 0])
    losses = []
    for _ in range(20):
        before = model.bank.stack.values.detach().clone()
        loss = -model(batch).mean()
        loss.backward()
        optimizers.step([0, 1], 1.0)
        moved = (model.bank.stack.values.detach() - before * (1 - 0.3e-5)).square().mean(1).sqrt()
        assert bool((moved <= 0.3 * (1 + 1e-4)).all())  # the update's root mean square is clipped at 1
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3
