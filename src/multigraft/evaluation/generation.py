"""Texts written by a text model, each by its expert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import GenerationConfig

from multigraft.batching.text import TextFormat, encode_inputs
from multigraft.errors import UserError
from multigraft.methods.text_model import TextModel
from multigraft.training.precision import computing_in

TOKENS = 16384  # read and written in a batch: every step costs about the same for few rows as for many
ROWS = 128  # inputs in a batch, at most


@torch.inference_mode()
def generate(
    model: TextModel,
    inputs: Sequence[str],
    experts: Sequence[int],
    form: TextFormat,
    *,
    max_tokens: int,
    beams: int = 1,
    cache: bool = True,
    precision: str = "auto",
) -> list[str]:
    """What the model writes behind every input, greedily or with beam search, up to `max_tokens` tokens.

    Without `cache` every token is computed from the beginning, which gives the same and is slow.
    """
    model.eval()
    device = next(model.parameters()).device
    settings = GenerationConfig(
        max_new_tokens=max_tokens, num_beams=beams, do_sample=False, use_cache=cache, pad_token_id=form.pad_id,
        eos_token_id=form.end_id, decoder_start_token_id=form.start_id, bos_token_id=form.start_id,
    )  # fmt: skip
    ids, _ = encode_inputs(inputs, model.backbone.tokenizer, form)
    found = [""] * len(inputs)
    for rows in _batches(model, [len(tokens) for tokens in ids], max_tokens, beams):
        width = max(len(ids[i]) for i in rows)
        tokens, mask = np.full((len(rows), width), form.pad_id), np.zeros((len(rows), width), dtype=np.int64)
        for row, i in enumerate(rows):
            # What a decoder writes has to stand right behind its input.
            place = slice(width - len(ids[i]), width) if form.kind == "decoder" else slice(len(ids[i]))
            tokens[row, place], mask[row, place] = ids[i], 1
        source, visible = torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)
        distinct, local = np.unique([experts[i] for i in rows], return_inverse=True)
        mixed = torch.from_numpy(local).to(device) if len(distinct) > 1 else None
        with model.rows(distinct.tolist(), mixed, visible), computing_in(precision, device):
            written = model.language_model.generate(
                input_ids=source, attention_mask=visible, generation_config=settings
            ).cpu()
        if form.kind == "decoder":
            written = written[:, width:]
        for i, line in zip(rows, written.tolist(), strict=True):
            found[i] = _text(model, line, form)
    return found


def _batches(model: TextModel, lengths: Sequence[int], max_tokens: int, beams: int) -> Iterator[list[int]]:
    """Indexes of inputs of like lengths, the shortest first, up to `ROWS` and `TOKENS` in a batch.

    They are of one length where a prompt stands in front and a model's window is shorter than all that it reads: the
    padding between a prompt and a shorter input would use the window up.
    """
    prompt = model.prompt
    window = getattr(model.backbone.config, "sliding_window", None)
    apart = prompt and window is not None and window < prompt + max(lengths, default=0) + max_tokens
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        full = len(batch) >= max(1, min(ROWS, TOKENS // (beams * (prompt + lengths[i] + max_tokens))))
        if batch and (full or (apart and lengths[i] != lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _text(model: TextModel, ids: list[int], form: TextFormat) -> str:
    ids = ids[1:] if form.kind == "encoder_decoder" else ids
    end = ids.index(form.end_id) if form.end_id in ids else len(ids)
    return str(model.backbone.tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()


def chat_input(model: TextModel, text: str) -> str:
    """The text as a user's turn in the backbone's chat template. Raises UserError when it has none."""
    tokenizer = model.backbone.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise UserError("the backbone has no chat template", where=model.backbone.name, fix="leave --chat out")
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
