"""The work that is timed: training steps and forwards of joint models and of plain transformers models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multigraft.backbones.load import Backbone, embedded_folder, load_backbone
from multigraft.batching.collate import Batch
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads
from multigraft.methods.joint import JointModel
from multigraft.training.objective import row_losses, row_weights
from multigraft.training.optimizers import Optimizers
from multigraft.training.precision import computing_in
from multigraft.training.settings import TrainingSettings

MINILM = "minilm"
CLASSES = 2
SETTINGS = TrainingSettings(steps=1, precision="bf16")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Work = Callable[[], object]


def bf16() -> Any:
    """Autocast to bfloat16, for both sides."""
    return computing_in("bf16", DEVICE)


def uneven_inputs(backbone: Backbone) -> dict[str, Tensor]:
    """A batch of random texts of several lengths, as a model of the backbone's family takes it."""
    ids = torch.randint(4, 67, (6, 20))
    mask = (torch.arange(20) < torch.tensor([[20], [17], [12], [9], [4], [1]])).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    if backbone.family.kind == "encoder_decoder":
        inputs["decoder_input_ids"] = ids[:, :8]
    return inputs


def random_batch(rows: int, tokens: int, experts: Sequence[int]) -> Batch:
    """`rows` random texts of `tokens` tokens and up to one eighth less, as bucketed batches are.

    Row b belongs to `experts[b % len(experts)]`.
    """
    rng = np.random.default_rng(0)
    lengths = rng.integers(tokens - tokens // 8, tokens + 1, rows)
    lengths[0] = tokens
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1000, 30000, (rows, tokens)) * mask
    tasks = np.resize(np.asarray(experts), rows)
    distinct, local = np.unique(tasks, return_inverse=True)
    batch = Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        token_type_ids=torch.zeros(rows, tokens, dtype=torch.int64),
        experts=tuple(distinct.tolist()),
        local=torch.from_numpy(local) if len(distinct) > 1 else None,
        row=None,
        slot=None,
        by_row=None,
        task=torch.from_numpy(tasks),
        choices=torch.full((rows,), CLASSES),
        target_class=torch.from_numpy(rng.integers(0, CLASSES, rows)),
        target_number=torch.zeros(rows),
    )
    return batch.to(DEVICE)


def inputs_of(batch: Batch) -> dict[str, Tensor]:
    """The batch as a transformers model takes it."""
    assert batch.token_type_ids is not None
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }


def labelled(batch: Batch) -> dict[str, Tensor]:
    """The same with the classes."""
    return inputs_of(batch) | {"labels": batch.target_class}


def joint_model(method: object, experts: int, *, tuned: bool = False) -> JointModel:
    """A joint model on MiniLM with a bank of the method and two classes for each expert."""
    backbone = load_backbone(MINILM)
    outputs = {f"task{i}": CLASSES for i in range(experts)}
    bank = Bank(parse_method(method), backbone, list(outputs))
    model = JointModel(backbone, bank, Heads(backbone, outputs), pooling="first", tuned=tuned)
    return model.to(DEVICE).train(tuned)


def joint_step(model: JointModel, batch: Batch) -> Work:
    """Forward, backward and optimizer step of a joint model."""
    model.train()
    optimizers = Optimizers(model, SETTINGS)
    weights = torch.from_numpy(row_weights(batch.task.cpu().numpy(), independent=not model.tuned)).to(DEVICE)

    def step() -> None:
        with bf16():
            scores = model(batch)
        loss = row_losses(scores.float(), batch) @ weights
        loss.backward()
        optimizers.step(batch.experts, 1.0)

    return step


def plain_model() -> Any:
    """The transformers model for the same task on the same backbone."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        embedded_folder(MINILM), num_labels=CLASSES, dtype=torch.float32
    )
    return model.to(DEVICE)


def plain_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """AdamW over what is trained of a transformers or PEFT model, with our decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": SETTINGS.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=SETTINGS.learning_rate,
        fused=True,
    )


def plain_update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Clip as ours does, step, and clear the gradients."""
    assert SETTINGS.clip is not None
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], SETTINGS.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def plain_step(model: nn.Module, inputs: Mapping[str, object]) -> Work:
    """Forward, backward and AdamW step of a transformers or PEFT model, whose inputs hold the labels."""
    optimizer = plain_optimizer(model)

    def step() -> None:
        with bf16():
            loss = model(**inputs).loss
        loss.backward()
        plain_update(model, optimizer)

    return step


def joint_forward(model: JointModel, batches: Iterable[Batch]) -> Work:
    """Forward of a joint model over the batches, one after the other."""
    model.eval()
    kept = list(batches)

    def forward() -> None:
        with torch.inference_mode(), bf16():
            for batch in kept:
                model(batch)

    return forward


def plain_forward(model: nn.Module, batch: Batch, *, passes: int = 1, **arguments: object) -> Work:
    """Forward of a transformers or PEFT model over the batch, `passes` times."""
    model.eval()
    inputs = inputs_of(batch) | arguments

    def forward() -> None:
        with torch.inference_mode(), bf16():
            for _ in range(passes):
                model(**inputs)

    return forward
