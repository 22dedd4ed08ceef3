"""Training step with task modules and the backbone tuned, over plain fine-tuning with transformers."""

from __future__ import annotations

from common import compare, finish, interleave, options, timed
from sides import joint_model, joint_step, labelled, plain_model, plain_step, random_batch

ROWS, TOKENS, TASKS = 32, 64, 8
METHODS = ("pal", "low_rank", "adapter")
TARGET = 1.15
PLAIN = "plain fine-tuning"


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    one = random_batch(ROWS, TOKENS, [0])
    mixed = random_batch(ROWS, TOKENS, range(TASKS))
    groups = {
        "{}": (1, one, TARGET),
        "{}, bank of 8, one task a step": (TASKS, one, TARGET),
        "{}, bank of 8, 8 tasks in a batch": (TASKS, mixed, None),
    }
    measures = []
    for label, (experts, batch, target) in groups.items():
        sides = {PLAIN: timed(plain_step(plain_model().train(), labelled(one)))}
        for method in METHODS:
            sides[label.format(method)] = timed(joint_step(joint_model(method, experts, tuned=True), batch))
        times = interleave(sides, chosen.seconds)
        measures += [compare(times, side, PLAIN, target) for side in sides if side != PLAIN]
    settings = {"rows": ROWS, "tokens": TOKENS, "backbone": "minilm, tuned", "precision": "bf16 autocast"}
    finish("train_step", "Training step, backbone tuned", measures, chosen, settings=settings)


if __name__ == "__main__":
    main()
