"""Eight tasks on four texts in one pass, over eight separate passes of four texts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import compare, finish, interleave, options, timed
from sides import bf16, joint_forward, joint_model, plain_forward, plain_model, random_batch

from multigraft.batching.collate import Batch
from multigraft.methods.joint import JointModel

TEXTS, TOKENS, TASKS = 4, 64, 8
METHODS = ("pal", "low_rank", "adapter", "lora")
PLAIN = "8 passes of plain models"


def answers(model: JointModel, batch: Batch) -> Callable[[], None]:
    """All tasks' answers for the texts of the batch."""
    model.eval()

    def forward() -> None:
        with torch.inference_mode(), bf16():
            model.answer_all(batch.input_ids, batch.attention_mask, batch.token_type_ids, range(TASKS))

    return forward


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    texts = [random_batch(TEXTS, TOKENS, [task]) for task in range(TASKS)]
    cases = {f"{method}, final half": ({"name": method, "layers": "final_half"}, 0.40) for method in METHODS}
    cases |= {"heads only": ("heads_only", 0.17), "pal, every layer": ("pal", None)}
    sides = {PLAIN: timed(plain_forward(plain_model(), texts[0], passes=TASKS))}
    for label, (method, _) in cases.items():
        model = joint_model(method, TASKS)
        sides[label] = timed(answers(model, texts[0]))
        sides[f"8 passes, {label}"] = timed(joint_forward(model, texts))
    times = interleave(sides, chosen.seconds)
    measures = [compare(times, label, f"8 passes, {label}", target) for label, (_, target) in cases.items()]
    measures += [compare(times, label, PLAIN) for label in cases]
    settings = {"texts": TEXTS, "tokens": TOKENS, "tasks": TASKS, "backbone": "minilm", "precision": "bf16 autocast"}
    finish("many_tasks", "Eight tasks on four texts", measures, chosen, settings=settings)


if __name__ == "__main__":
    main()
