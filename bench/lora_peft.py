"""Training step with a LoRA bank on a frozen backbone, over PEFT's LoRA of the same rank at the same places."""

from __future__ import annotations

from common import compare, finish, interleave, options, run_in, timed, versions

ROWS, TOKENS, RANK = 32, 64, 8
PLACES = {"q, v": ("q", "v"), "q, v, dense": ("q", "v", "o", "up", "down")}
PLAIN = "plain fine-tuning"


def main() -> None:
    """Measure and keep the results."""
    run_in("peft")
    chosen = options(__doc__ or "")
    from peers_peft import peft_model
    from sides import joint_model, joint_step, plain_model, plain_step, random_batch

    batch = random_batch(ROWS, TOKENS, [0])
    measures = []
    for places, maps in PLACES.items():
        ours, theirs = f"LoRA bank, {places}", f"PEFT, {places}"
        lora = {"name": "lora", "rank": RANK, "maps": maps}
        sides = {
            # A frozen backbone runs without dropout on both sides: hence PEFT's model is not in training mode.
            ours: timed(joint_step(joint_model(lora, 1), batch)),
            theirs: timed(plain_step(peft_model(RANK, maps, ["task0"]).eval(), batch)),
            PLAIN: timed(plain_step(plain_model().train(), batch)),
        }
        times = interleave(sides, chosen.seconds)
        measures += [compare(times, ours, theirs, 1.0), compare(times, ours, PLAIN), compare(times, theirs, PLAIN)]
    settings = {"rows": ROWS, "tokens": TOKENS, "rank": RANK, "backbone": "minilm, frozen",
                "precision": "bf16 autocast"}  # fmt: skip
    title = "Training step, LoRA on a frozen backbone"
    finish("lora_peft", title, measures, chosen, settings=settings, peers=versions("peft"))


if __name__ == "__main__":
    main()
