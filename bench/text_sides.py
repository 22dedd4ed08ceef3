"""The work that is timed with text models: backbones of MiniLM's width, and training steps on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sides import DEVICE, SETTINGS, bf16
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from multigraft.backbones.load import Backbone, load_tokenizer
from multigraft.backbones.pocket import build_pocket
from multigraft.batching.text import TextEncoded
from multigraft.batching.text_collate import TextBatch
from multigraft.library.text_folder import build_text_model
from multigraft.methods.text_model import TextModel
from multigraft.training.objective import TextObjective
from multigraft.training.optimizers import Optimizers

WIDTH, DEPTH, HEADS = 384, 6, 12  # MiniLM's
WORDS, PAD, START, END = 30522, 0, 101, 102  # MiniLM's
LONGEST = 512

TextStep = Callable[[TextBatch, Tensor], None]


def llama_like(words: int = WORDS, start: int = START, end: int = END) -> LlamaForCausalLM:
    """A random decoder with the width and depth of MiniLM, over so many words."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": 1024}
    ids = {"pad_token_id": PAD, "bos_token_id": start, "eos_token_id": end}
    return LlamaForCausalLM(LlamaConfig(vocab_size=words, max_position_embeddings=LONGEST, **sizes, **ids))


def t5_like() -> T5ForConditionalGeneration:
    """A random encoder-decoder with the width of MiniLM and its depth on both sides."""
    torch.manual_seed(0)
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 4 * WIDTH, "num_layers": DEPTH, "num_heads": HEADS}
    ids = {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
    return T5ForConditionalGeneration(T5Config(vocab_size=WORDS, **sizes, **ids))


BACKBONES: dict[str, Callable[[], object]] = {
    "Llama-like": llama_like,
    "T5-like": t5_like,
    "pocket": lambda: build_pocket(0),
}


def text_model(name: str, method: object, *, tuned: bool) -> TextModel:
    """A text model with one expert on a backbone, which reads MiniLM's word pieces."""
    backbone = Backbone(BACKBONES[name](), load_tokenizer("minilm"), name)
    return build_text_model(backbone, ["expert"], method, tuned=tuned, seed=0).to(DEVICE)


def random_texts(rows: int, input_length: int, target_length: int) -> TextEncoded:
    """Random texts of these lengths and up to one eighth less, as bucketed batches are."""
    rng = np.random.default_rng(0)

    def drawn(length: int) -> tuple[np.ndarray, np.ndarray]:
        lengths = rng.integers(length - length // 8, length + 1, rows)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return rng.integers(1000, WORDS, starts[-1]).astype(np.int32), starts

    return TextEncoded(*drawn(input_length), *drawn(target_length), np.zeros(rows, dtype=bool))


def objective_of(model: TextModel, data: list[TextEncoded], packing: int | None = None) -> TextObjective:
    """What one expert learns from all of the data, every target token alike."""
    form = model.backbone.text_format(LONGEST, LONGEST)
    return TextObjective(data, form, weighting="token", packing=packing, together=True)


def loss_of(model: TextModel, objective: TextObjective, batch: TextBatch, weights: Tensor) -> Tensor:
    """The loss of a batch, as the training loop has it."""
    with bf16():
        outputs = model(batch)
    return objective.losses(outputs, batch) @ weights


def text_step(model: TextModel, objective: TextObjective) -> TextStep:
    """Forward, backward and optimizer step of a text model."""
    model.train()
    optimizers = Optimizers(model, SETTINGS)

    def step(batch: TextBatch, weights: Tensor) -> None:
        loss_of(model, objective, batch, weights).backward()
        optimizers.step([0], 1.0)

    return step


def drawn_batch(objective: TextObjective, tasks: np.ndarray, rows: np.ndarray) -> tuple[TextBatch, Tensor]:
    """The batch of the rows, and the weight of each in the loss."""
    weights = torch.from_numpy(objective.weights(tasks, rows, independent=False))
    return objective.collate(tasks, rows).to(DEVICE), weights.to(DEVICE)


def plain_inputs(data: TextEncoded, kind: str) -> dict[str, Tensor]:
    """All rows as a transformers model takes them, with labels where a target is."""
    inputs, targets = ([side(i).tolist() for i in range(len(data))] for side in (data.input, data.target))
    if kind == "decoder":
        labels = [[-100] * len(text) + target for text, target in zip(inputs, targets, strict=True)]
        inputs = [text + target for text, target in zip(inputs, targets, strict=True)]
    else:
        labels = targets
    ids = _padded(inputs, PAD)
    width = torch.arange(ids.shape[1])
    mask = (width < torch.tensor([len(text) for text in inputs])[:, None]).long()
    found = {"input_ids": ids, "attention_mask": mask, "labels": _padded(labels, -100)}
    return {name: tensor.to(DEVICE) for name, tensor in found.items()}


def _padded(rows: list[list[int]], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
