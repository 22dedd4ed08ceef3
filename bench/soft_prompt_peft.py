"""Prompts over PEFT's: the same outputs for the same vectors, and the training step on a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from common import compare, finish, interleave, options, run_in, timed, versions
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.front import PromptMethod
from multigraft.methods.p_tuning import PTuning
from multigraft.methods.prefix_tuning import PrefixTuning
from multigraft.methods.soft_prompt import SoftPrompt

ROWS, TOKENS, LENGTH, PROMPTS, ROWS_EACH = 32, 64, 100, 16, 4
TOLERANCE = 1e-5  # of outputs in float32
SOFT, ENCODED, PREFIX = SoftPrompt(length=5), PTuning(length=5, width=9), PrefixTuning(length=5)
CASES: dict[str, tuple[str, PromptMethod]] = {
    **{f"soft prompt, {family}": (family, SOFT) for family in ("bert", "roberta", "gpt2", "llama", "t5")},
    **{f"p-tuning, {family}": (family, ENCODED) for family in ("bert", "llama", "t5")},
    **{f"prefix, {family}": (family, PREFIX) for family in ("bert", "gpt2", "llama")},
    "prefix with network, gpt2": ("gpt2", PrefixTuning(length=5, width=9)),
    # PEFT has keys and values in front of the decoder's own only.
    "prefix, t5": ("t5", PrefixTuning(length=5, attentions="decoder")),
}


def difference(family: str, method: PromptMethod) -> float:
    """The largest difference between the outputs of both sides for a tiny model; logits as log-probabilities."""
    from peers_prompts import peft_prompt_model
    from sides import uneven_inputs

    make = tiny_backbone if family in ("bert", "roberta") else tiny_text_backbone
    ours, theirs = make(family), make(family)
    bank = Bank(method, ours, ["first", "second"]).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(bank.stack.values, std=0.3)
    inputs = uneven_inputs(ours)
    mask = inputs["attention_mask"]
    with torch.inference_mode():
        plain = _output(ours, ours.model(**inputs))
        with bank.rows(*one_expert(1), mask):
            found = _output(ours, ours.model(**inputs))
        peer = peft_prompt_model(theirs, method, bank.stack.expert("second"))
        expected = _output(theirs, peer(**inputs))[:, -found.shape[1] :]
    seen = slice(None) if "decoder_input_ids" in inputs else mask.bool()
    assert not torch.allclose(found[seen], plain[seen], atol=1e-2)  # the prompt does something
    return float((found - expected)[seen].abs().max())


def _output(backbone: Backbone, given: Mapping[str, Any]) -> Tensor:
    if backbone.writes:
        return given["logits"].log_softmax(-1)  # type: ignore[no-any-return]
    return given["last_hidden_state"]  # type: ignore[no-any-return]


def main() -> None:
    """Compare, measure and keep the results; ends with an error when outputs differ."""
    run_in("peft")
    chosen = options(__doc__ or "")
    from peers_prompts import peft_classifier, plain_float_step
    from sides import joint_forward, joint_model, joint_step, labelled, plain_step, random_batch

    differences = {label: difference(*case) for label, case in CASES.items()}
    for label, largest in differences.items():
        print(f"{label}: outputs differ from PEFT's by at most {largest:.1e}")
    wrong = [label for label, largest in differences.items() if not largest <= TOLERANCE]
    if wrong:
        raise SystemExit(f"more than {TOLERANCE:.0e}: {'; '.join(wrong)}")

    method = {"name": "soft_prompt", "length": LENGTH}
    one, mixed = random_batch(ROWS, TOKENS, [0]), random_batch(ROWS, TOKENS, range(PROMPTS))
    ours, theirs, rounded = "soft prompt, bf16 autocast", "PEFT, float32", "PEFT, bf16 autocast"
    sides = {
        ours: timed(joint_step(joint_model(method, 1), one)),
        # A frozen backbone runs without dropout on both sides: hence PEFT's model is not in training mode.
        theirs: timed(plain_float_step(peft_classifier(LENGTH), labelled(one))),
        rounded: timed(plain_step(peft_classifier(LENGTH), labelled(one))),
    }
    times = interleave(sides, chosen.seconds)
    measures = [compare(times, ours, theirs, 0.5), compare(times, ours, rounded)]

    bank = joint_model(method, PROMPTS)
    names = {mixed: f"{PROMPTS} prompts in the batch", one: "one prompt in the batch"}
    sides = {f"forward, {name}": timed(joint_forward(bank, [batch])) for batch, name in names.items()}
    sides |= {f"step, {name}": timed(joint_step(bank, batch)) for batch, name in names.items()}
    times = interleave(sides, chosen.seconds / 2)
    measures += [
        compare(times, f"{what}, {names[mixed]}", f"{what}, {names[one]}", 1.15) for what in ("forward", "step")
    ]

    together, apart = f"{PROMPTS} prompts in one bank", f"{PROMPTS} prompts one after the other"
    whole = joint_step(bank, random_batch(PROMPTS * ROWS_EACH, TOKENS, range(PROMPTS)))
    single = joint_step(joint_model(method, 1), random_batch(ROWS_EACH, TOKENS, [0]))
    sides = {together: timed(whole), apart: timed(lambda: [single() for _ in range(PROMPTS)])}
    target = 0.25 if torch.cuda.is_available() else 1.0
    measures.append(compare(interleave(sides, chosen.seconds / 2), together, apart, target))

    settings = {"rows": ROWS, "tokens": TOKENS, "prompt": LENGTH, "prompts": PROMPTS, "rows of each": ROWS_EACH,
                "backbone": "minilm, frozen", "precision": "bf16 autocast but where named",
                "largest difference": differences}  # fmt: skip
    title = "Training step, soft prompts on a frozen backbone"
    finish("soft_prompt_peft", title, measures, chosen, settings=settings, peers=versions("peft"))


if __name__ == "__main__":
    main()
