"""TRL's side: packing by its SFTTrainer, whose loss and loader are used. Runs in the environment `trl`."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence

from datasets import Dataset, disable_progress_bars
from sides import DEVICE, bf16, plain_optimizer, plain_update
from text_sides import llama_like
from trl import SFTConfig, SFTTrainer

from multigraft.backbones.load import load_tokenizer
from multigraft.batching.text import TextEncoded
from multigraft.mixing.sampler import Draw


def trl_trainer(draws: Sequence[Draw], data: Sequence[TextEncoded], capacity: int) -> SFTTrainer:
    """A trainer of a Llama-like model on all rows of the draws, packed by best fit, one packed row in a batch."""
    disable_progress_bars()
    drawn = [(data[t].input(r).tolist(), data[t].target(r).tolist()) for d in draws for t, r in zip(d.tasks, d.rows)]
    texts = Dataset.from_dict({
        "input_ids": [text + target for text, target in drawn],
        "labels": [[-100] * len(text) + target for text, target in drawn],
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        settings = SFTConfig(
            place, packing=True, max_length=capacity, per_device_train_batch_size=1, gradient_checkpointing=False,
            report_to=[], use_cpu=DEVICE.type == "cpu",
        )  # fmt: skip
        return SFTTrainer(llama_like(), settings, train_dataset=texts, processing_class=load_tokenizer("minilm"))


def trl_side(
    draws: Sequence[Draw], data: Sequence[TextEncoded], capacity: int, examples: int
) -> Iterator[Callable[[], int]]:
    """Steps on as many packed rows as hold about `examples` examples; each gives its tokens.

    Every packed row is a batch of its own, and the step accumulates their gradients: TRL joins the rows of a batch
    into one long one, whose attention is masked without FlashAttention, which takes many times longer.
    """
    tokens = sum(int(data[t].lengths[r]) for draw in draws for t, r in zip(draw.tasks, draw.rows))
    rows = round(examples * tokens / sum(len(draw.rows) for draw in draws) / capacity)
    trainer = trl_trainer(draws, data, capacity)
    model, optimizer = trainer.model.train(), plain_optimizer(trainer.model)

    def forever() -> Iterator[dict[str, object]]:
        while True:
            yield from trainer.get_train_dataloader()

    batches = forever()

    def step() -> int:
        seen = 0
        for _ in range(rows):
            batch = next(batches)
            seen += batch["input_ids"].numel()
            with bf16():
                loss = trainer.compute_loss(model, batch)
            (loss / rows).backward()
        plain_update(model, optimizer)
        return seen

    return itertools.repeat(step)
