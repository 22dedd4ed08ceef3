"""Bottleneck adapters over those of the `adapters` library: training step, and eight tasks on four texts."""

from __future__ import annotations

from typing import Any

from common import Peer, compare, finish, interleave, options, timed
from many_tasks import TASKS, TEXTS, TOKENS, answers
from sides import DEVICE, MINILM, SETTINGS, joint_forward, joint_model, joint_step, random_batch

from multigraft.backbones.load import embedded_folder
from multigraft.batching.collate import Batch

ROWS, WIDTH = 32, 24
LAYERS = {"every layer": "every", "final half": "final_half"}


def listed(batch: Batch) -> dict[str, list[Any]]:
    """The batch for the other process."""
    return {
        "ids": batch.input_ids.tolist(),
        "mask": batch.attention_mask.tolist(),
        "labels": batch.target_class.tolist(),
    }


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    rows = random_batch(ROWS, TOKENS, [0])
    texts = [random_batch(TEXTS, TOKENS, [task]) for task in range(TASKS)]
    peer = Peer(
        "adapters",
        "peers_adapters.py",
        model=str(embedded_folder(MINILM)),
        device=DEVICE.type,
        threads=chosen.threads,
        width=WIDTH,
        tasks=TASKS,
        rows=listed(rows),
        texts=listed(texts[0]),
        learning_rate=SETTINGS.module_learning_rate,
        weight_decay=SETTINGS.weight_decay,
        clip=SETTINGS.clip,
    )
    measures = []
    for label, layers in LAYERS.items():
        adapter = {"name": "adapter", "width": WIDTH, "layers": layers}
        model = joint_model(adapter, TASKS)
        step, answer, passes = f"training step, {label}", f"8 tasks on 4 texts, {label}", f"8 passes, {label}"
        sides = {
            step: timed(joint_step(joint_model(adapter, 1), rows)),
            answer: timed(answers(model, texts[0])),
            passes: timed(joint_forward(model, texts)),
        }
        sides |= {f"adapters: {side}": peer.side(f"{side.split(',')[0]}/{layers}") for side in sides}
        times = interleave(sides, chosen.seconds)
        measures += [compare(times, side, f"adapters: {side}", 1.0) for side in (step, answer)]
        measures.append(compare(times, f"adapters: {answer}", f"adapters: {passes}"))
        measures.append(compare(times, answer, passes))
    peer.close()
    settings = {"rows": ROWS, "texts": TEXTS, "tokens": TOKENS, "tasks": TASKS, "bottleneck": WIDTH,
                "backbone": "minilm, frozen", "precision": "bf16 autocast"}  # fmt: skip
    title = "Bottleneck adapters, and the adapters library"
    finish("adapters_library", title, measures, chosen, settings=settings, peers=peer.versions)


if __name__ == "__main__":
    main()
