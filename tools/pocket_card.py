"""The model card of `pocket`."""

from __future__ import annotations

from typing import Any

from pocket_corpus import HELD_OUT, SHORTEST, UNSEEN_CLUSTERS, UNSEEN_TASKS
from pocket_objectives import LONGEST_INPUT, LONGEST_TARGET, SHARES

from multigraft.backbones.load import MINILM_SHA256
from multigraft.runinfo import machine

_CARD = """\
# Model card: pocket

A small English text-to-text model. The encoder is all-MiniLM-L6-v2 (6 layers, width 384), unchanged and not in this
file. The decoder has 4 layers of the same width, with cross-attention; they started as layers of MiniLM, and its word
and position embeddings are MiniLM's, frozen. This file holds, in 16 bit, what was trained: the decoder's layers, the
output transform, and a bias per word piece. A target starts with [CLS] and ends with [SEP].

- SHA-256 of pocket.safetensors: `{sha256}`
- SHA-256 of the encoder: `{encoder}`

It is a backbone for prompts, experts and instruction tuning on a laptop, not a model to be asked things: it has seen
little text, knows few facts, and repeats what that text holds. All text is lower-cased by its tokenizer, so it writes
lower case.

## Data

The inputs and text targets of the train splits of {tasks} public English task sets, as texts; no label and no answer.
{texts:,} texts, {pieces:,} word pieces, of which {held_out:,} texts (one row in {share}) were held out. The sets keep
their own licences, some of which allow non-commercial research only.

Not used, so that they stay unseen: all evaluation splits; the clusters {clusters}; and
{others}. Texts that hold, or lie within, a text of these were dropped (compared as words,
from {shortest} words on), and so were texts that lie within another one.

| task | texts | pieces | held out | dropped: met an unseen text | dropped: within another |
|---|---:|---:|---:|---:|---:|
{data}

## Training

{steps:,} steps of {rows} examples, {targets:,} target pieces, {hours:.1f} hours on {processor} ({cores} cores, device
{device}). AdamW (0.9, 0.98), weight decay 0.01, gradients clipped at 1; rate {rate:g} after {warmup} steps of rise,
falling linearly over the last quarter; seed {seed}; bfloat16 autocast, encoder frozen. Inputs have up to
{longest_input} pieces, targets up to {longest_target}. Made by `tools/pretrain_pocket.py`.

Forms of examples: {forms}.

## Held-out text

Nats per target piece on held-out texts, 500 examples of each form. Unigram: frequencies of pieces in training targets.
Copy: its best mixture with the pieces of the input, fitted on training examples for each form.

| form | pocket | copy | unigram |
|---|---:|---:|---:|
{scores}
"""


def card(
    plan: dict[str, Any],
    progress: dict[str, float],
    counts: dict[str, dict[str, int]],
    nats: dict[str, dict[str, float]],
    sha256: str,
) -> str:
    """The card's text. `nats`: for pocket and each baseline, by form and over all."""
    used = {task: count for task, count in counts.items() if count["texts"]}
    rows = [f"| {task} | {' | '.join(f'{value:,}' for value in count.values())} |" for task, count in used.items()]
    on = machine()
    return _CARD.format(
        sha256=sha256,
        encoder=MINILM_SHA256,
        tasks=len(used),
        **{key: sum(count[key] for count in used.values()) for key in ("texts", "pieces", "held_out")},
        share=HELD_OUT,
        clusters=", ".join(UNSEEN_CLUSTERS),
        others=", ".join(f"{task} ({why})" for task, why in UNSEEN_TASKS.items()),
        shortest=SHORTEST,
        data="\n".join(rows),
        steps=progress["step"],
        targets=progress["pieces"],
        hours=progress["hours"],
        **{key: on[key] for key in ("processor", "cores", "device")},
        **{key: plan[key] for key in ("rows", "rate", "warmup", "seed")},
        longest_input=LONGEST_INPUT,
        longest_target=LONGEST_TARGET,
        forms=", ".join(f"{form} {share:.0%}" for form, share in SHARES.items()),
        scores="\n".join(
            f"| {form} | {' | '.join(f'{nats[name][form]:.3f}' for name in nats)} |" for form in ["all", *SHARES]
        ),
    )
