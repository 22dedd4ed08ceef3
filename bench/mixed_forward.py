"""Forward of rows with a different expert each, over rows with one expert, and over PEFT's mixed LoRA batch."""

from __future__ import annotations

from common import compare, finish, interleave, options, run_in, timed, versions

ROWS, TOKENS, RANK = 32, 64, 8
METHODS = ("lora", "pal", "low_rank", "adapter")
PLACES = {"q, v": ("q", "v"), "q, v, dense": ("q", "v", "o", "up", "down")}


def main() -> None:
    """Measure and keep the results."""
    run_in("peft")
    chosen = options(__doc__ or "")
    from peers_peft import peft_model
    from sides import joint_forward, joint_model, plain_forward, random_batch

    one, mixed = random_batch(ROWS, TOKENS, [0]), random_batch(ROWS, TOKENS, range(ROWS))
    sides = {}
    for method in METHODS:
        model = joint_model(method, ROWS)
        sides[f"{method}, {ROWS} experts"] = timed(joint_forward(model, [mixed]))
        sides[f"{method}, one expert"] = timed(joint_forward(model, [one]))
    times = interleave(sides, chosen.seconds)
    measures = [compare(times, f"{m}, {ROWS} experts", f"{m}, one expert", 1.10) for m in METHODS]
    names = [f"task{i}" for i in range(ROWS)]
    for places, maps in PLACES.items():
        ours, theirs = f"LoRA bank, {ROWS} experts, {places}", f"PEFT, {ROWS} adapters, {places}"
        bank = joint_model({"name": "lora", "rank": RANK, "maps": maps}, ROWS)
        peer = peft_model(RANK, maps, names)
        sides = {
            ours: timed(joint_forward(bank, [mixed])),
            theirs: timed(plain_forward(peer, mixed, adapter_names=names)),
        }
        times = interleave(sides, chosen.seconds / 2)
        measures.append(compare(times, ours, theirs, 0.85))
    settings = {"rows": ROWS, "tokens": TOKENS, "rank": RANK, "backbone": "minilm", "precision": "bf16 autocast"}
    title = "Forward of a batch whose rows use different experts"
    finish("mixed_forward", title, measures, chosen, settings=settings, peers=versions("peft"))


if __name__ == "__main__":
    main()
