"""Checkpoints to PEFT and from it: the same outputs on both sides, for LoRA and soft prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import options, run_in
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.library.peft_format import read_peft, write_peft
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.base import Method, parse_method

TOLERANCE = 1e-5  # of log-probabilities, and of hidden states of an encoder, in float32
FAMILIES: Mapping[str, Callable[[], Backbone]] = {
    "bert": tiny_backbone,
    **{name: partial(tiny_text_backbone, name) for name in ("llama", "gpt2", "gpt_neox", "t5", "bart")},
}
MODULES = {
    "bert": ("query", "value"),
    "llama": ("q_proj", "v_proj"),
    "gpt2": ("c_attn", "c_proj"),
    "gpt_neox": ("query_key_value", "dense"),
    "t5": ("q", "v"),
    "bart": ("q_proj", "v_proj"),
}
CROSS = ("t5", "bart")
LORA: dict[str, Any] = {"name": "lora", "rank": 4, "alpha": 6.0, "maps": ("q", "k", "v", "o", "up", "down")}
PROMPT = {"name": "soft_prompt", "length": 5, "init": "random"}


def expert(method: object, backbone: Backbone) -> tuple[Method, dict[str, Tensor]]:
    """An expert of random values."""
    bank = Bank(parse_method(method), backbone, ["one"])
    torch.nn.init.normal_(bank.stack.values, std=0.1)
    bank.detach()
    return bank.method, bank.stack.expert("one")


def inputs_of(backbone: Backbone) -> dict[str, Tensor]:
    """The same batch every time."""
    from sides import uneven_inputs

    torch.manual_seed(0)
    return uneven_inputs(backbone)


def outputs_of(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Log-probabilities, or an encoder's last hidden state, of tokens that are no padding: as many rows as those."""
    with torch.inference_mode():
        found = model(**inputs)
    values = found.logits.log_softmax(-1) if "logits" in found else found.last_hidden_state
    if "decoder_input_ids" in inputs:
        return values.flatten(0, 1)
    return values[:, -inputs["input_ids"].shape[1] :][inputs["attention_mask"].bool()]


def ours(backbone: Backbone, method: Method, tensors: Mapping[str, Tensor]) -> Tensor:
    """Outputs with an expert of ours."""
    bank, inputs = Bank(method, backbone, ["one"]), inputs_of(backbone)
    bank.stack.load_expert("one", tensors)
    with bank.rows(*one_expert(0), inputs["attention_mask"]):
        found = outputs_of(backbone.model, inputs)
    bank.detach()
    return found


def exported(make: Callable[[], Backbone], record: Mapping[str, Any], folder: Path) -> float:
    """The largest difference between an expert of ours and what PEFT makes of its checkpoint."""
    from peft import PeftModel

    backbone = make()
    method, tensors = expert(record, backbone)
    write_peft(folder, method, tensors, backbone)
    plain, expected = outputs_of(backbone.model, inputs_of(backbone)), ours(backbone, method, tensors)
    found = outputs_of(PeftModel.from_pretrained(make().model, folder).eval(), inputs_of(backbone))
    assert float((found - plain).abs().max()) > 1e-2  # the expert does something
    read = read_peft(folder, backbone)
    again = ours(backbone, read.method, read.tensors)
    return float(torch.stack([found - expected, again - expected]).abs().max())


def imported(make: Callable[[], Backbone], config: Any, folder: Path) -> float:
    """The largest difference between a model of PEFT's and what we make of its checkpoint."""
    from peft import get_peft_model

    backbone = make()
    model = get_peft_model(make().model, config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "prompt" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    expected = outputs_of(model, inputs_of(backbone))
    read = read_peft(folder, backbone)
    return float((ours(backbone, read.method, read.tensors) - expected).abs().max())


def configs(family: str) -> dict[str, Any]:
    """What PEFT may write: modules by their usual names, with ranks and scales of their own, and prompts."""
    from peft import LoraConfig, PromptTuningConfig

    kind = FAMILIES[family]().family.kind
    task = {"encoder": "FEATURE_EXTRACTION", "encoder_decoder": "SEQ_2_SEQ_LM", "decoder": "CAUSAL_LM"}[kind]
    first, second = MODULES[family]
    lora: dict[str, Any] = {"r": 3, "lora_alpha": 5, "target_modules": [first, second], "task_type": task}
    return {
        "lora": LoraConfig(**lora),
        "lora of several ranks": LoraConfig(**lora, rank_pattern={second: 2}, alpha_pattern={second: 7}),
        "lora, rank-stabilised": LoraConfig(**lora, use_rslora=True, rank_pattern={f".*1.*{first}": 5}),
        "prompt": PromptTuningConfig(task_type=task, num_virtual_tokens=5, num_transformer_submodules=1),
    }


def sides(family: str) -> dict[str, Callable[[Path], float]]:
    """Everything that is compared for a family; each side is given a new folder."""
    make = FAMILIES[family]
    maps = (*LORA["maps"], *(("cross_q", "cross_v", "cross_o") if family in CROSS else ()))
    found = {
        "lora, to PEFT": partial(exported, make, LORA | {"maps": maps}),
        "prompt, to PEFT": partial(exported, make, PROMPT),
    }
    return found | {f"{what}, from PEFT": partial(imported, make, config) for what, config in configs(family).items()}


def main() -> None:
    """Print the differences, and end with an error when one is too large."""
    run_in("peft")
    options(__doc__ or "")
    found: dict[str, float] = {}
    for family in FAMILIES:
        for what, side in sides(family).items():
            torch.manual_seed(0)
            with TemporaryDirectory() as folder:
                difference = side(Path(folder) / "checkpoint")
            print(f"{family}, {what}: outputs differ by at most {difference:.1e}", flush=True)
            found[f"{family}, {what}"] = difference
    wrong = [what for what, difference in found.items() if not difference <= TOLERANCE]
    if wrong:
        raise SystemExit(f"outputs differ by more than {TOLERANCE}: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
