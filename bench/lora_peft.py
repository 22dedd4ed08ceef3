"""LoRA over PEFT's: the same outputs of text models, and the training step of an encoder on a frozen backbone."""

from __future__ import annotations

import torch
from common import compare, finish, interleave, options, run_in, timed, versions

from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.lora import LoRA

ROWS, TOKENS, RANK = 32, 64, 8
PLACES = {"q, v": ("q", "v"), "q, v, dense": ("q", "v", "o", "up", "down")}
PLAIN = "plain fine-tuning"
FAMILIES = ("llama", "gpt2", "t5")
TOLERANCE = 1e-5  # of log-probabilities in float32


def difference(family: str) -> float:
    """The largest difference of a tiny text model's log-probabilities between both sides, with the same weights.

    Ends when it is too large.
    """
    from peers_peft import peft_text_model
    from sides import uneven_inputs

    ours, theirs = tiny_text_backbone(family), tiny_text_backbone(family)
    lora = LoRA(rank=4, alpha=6.0, maps=("q", "k", "v", "o", "up", "down"))
    bank = Bank(lora, ours, ["first", "second"])
    torch.manual_seed(0)
    torch.nn.init.normal_(bank.stack.values, std=0.1)
    inputs = uneven_inputs(ours)
    mask = inputs["attention_mask"]
    with torch.inference_mode():
        plain = ours.model(**inputs).logits.log_softmax(-1)
        with bank.rows(*one_expert(1), mask):
            found = ours.model(**inputs).logits.log_softmax(-1)
        expected = peft_text_model(theirs, lora, bank.stack.expert("second"))(**inputs).logits.log_softmax(-1)
    seen = mask.bool() if "decoder_input_ids" not in inputs else slice(None)
    largest = float((found - expected)[seen].abs().max())
    assert not torch.allclose(found, plain)  # the LoRA does something
    if not largest <= TOLERANCE:
        raise SystemExit(f"{family}: log-probabilities differ from PEFT's by up to {largest:.1e}")
    return largest


def main() -> None:
    """Measure and keep the results."""
    run_in("peft")
    chosen = options(__doc__ or "")
    from peers_peft import peft_model
    from sides import joint_model, joint_step, labelled, plain_model, plain_step, random_batch

    differences = {family: difference(family) for family in FAMILIES}
    for family, largest in differences.items():
        print(f"{family}: log-probabilities differ from PEFT's by at most {largest:.1e}")
    batch = random_batch(ROWS, TOKENS, [0])
    measures = []
    for places, maps in PLACES.items():
        ours, theirs = f"LoRA bank, {places}", f"PEFT, {places}"
        lora = {"name": "lora", "rank": RANK, "maps": maps}
        sides = {
            # A frozen backbone runs without dropout on both sides: hence PEFT's model is not in training mode.
            ours: timed(joint_step(joint_model(lora, 1), batch)),
            theirs: timed(plain_step(peft_model(RANK, maps, ["task0"]).eval(), labelled(batch))),
            PLAIN: timed(plain_step(plain_model().train(), labelled(batch))),
        }
        times = interleave(sides, chosen.seconds)
        measures += [compare(times, ours, theirs, 1.0), compare(times, ours, PLAIN), compare(times, theirs, PLAIN)]
    settings = {"rows": ROWS, "tokens": TOKENS, "rank": RANK, "backbone": "minilm, frozen",
                "precision": "bf16 autocast", "largest difference": differences}  # fmt: skip
    title = "Training step, LoRA on a frozen backbone"
    finish("lora_peft", title, measures, chosen, settings=settings, peers=versions("peft"))


if __name__ == "__main__":
    main()
