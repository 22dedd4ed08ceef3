"""Training step of text models, frozen with a LoRA expert and tuned, over plain fine-tuning with transformers."""

from __future__ import annotations

import numpy as np
import torch
from common import compare, finish, interleave, options, timed
from sides import plain_step
from text_sides import BACKBONES, drawn_batch, loss_of, objective_of, plain_inputs, random_texts, text_model, text_step

from multigraft.backbones.load import Backbone

ROWS, INPUT, TARGET = 32, 96, 12
MOST = 1.15
TOLERANCE = 0.01  # of the losses of both sides, relative, in bfloat16
LORA = {"name": "lora", "rank": 8, "maps": ("q", "v")}
SIDES = {"LoRA, frozen": (LORA, False), "tuned": ("heads_only", True)}


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    data = random_texts(ROWS, INPUT, TARGET)
    tasks, rows = np.zeros(ROWS, dtype=np.int64), np.arange(ROWS)
    measures = []
    for name in BACKBONES:
        plain = f"plain fine-tuning, {name}"
        model = BACKBONES[name]().requires_grad_(True)
        kind = Backbone(model, None, name).family.kind
        inputs = plain_inputs(data, kind)
        with torch.inference_mode():
            expected = model.eval()(**inputs).loss
        sides = {plain: timed(plain_step(model.train(), inputs))}
        for label, (method, tuned) in SIDES.items():
            ours = text_model(name, method, tuned=tuned)
            objective = objective_of(ours, [data])
            batch, weights = drawn_batch(objective, tasks, rows)
            with torch.inference_mode():
                found = loss_of(ours.eval(), objective, batch, weights)
            if not torch.isclose(found, expected, rtol=TOLERANCE):
                raise SystemExit(f"{name}, {label}: the loss is {found:.4f}, that of transformers {expected:.4f}")
            step = text_step(ours, objective)
            sides[f"{name}, {label}"] = timed(lambda step=step, batch=batch, weights=weights: step(batch, weights))
        times = interleave(sides, chosen.seconds)
        measures += [compare(times, side, plain, MOST) for side in sides if side != plain]
    settings = {"rows": ROWS, "tokens of inputs": INPUT, "tokens of targets": TARGET, "LoRA": LORA,
                "precision": "bf16 autocast"}  # fmt: skip
    finish("text_step", "Training step of text models", measures, chosen, settings=settings)


if __name__ == "__main__":
    main()
