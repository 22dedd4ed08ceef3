"""Compare our modules with outputs of the PALs paper's released ones: `python tests/parity/pals.py FILE...`.

A file holds the weights of a BERT trunk (`trunk.*`) and of the task modules (`module.*`), a batch
(`input.*`) and the outputs (`expected.*`); its metadata name the variant and the sizes. Every output is
computed twice: with one task for the whole batch, and with all tasks mixed in one batch.

Exit code 0 when every difference is at most 1e-5, 1 when one is larger, 2 for a file that cannot be used.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import BertConfig, BertModel

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.errors import UserError, unknown
from multigraft.methods.adapter import Adapter
from multigraft.methods.bank import Bank
from multigraft.methods.base import Method
from multigraft.methods.lhuc import LHUC
from multigraft.methods.low_rank import LowRank
from multigraft.methods.pal import PAL
from multigraft.methods.top_attention import TopAttention
from multigraft.methods.top_layer import TopLayer

TOLERANCE = 1e-5
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_tasks")
PAL_HEADS, TOP_HEADS = 6, 12  # constants of the released code
Names = dict[str, str]  # our tensor name: the released one, where {k} stands for the task


@dataclass
class Reference:
    """One file."""

    path: Path
    variant: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    used: set[str] = field(default_factory=set)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name.`, without it."""
        return {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")}

    def get(self, name: str) -> Tensor:
        """A tensor. Raises UserError when it is missing."""
        if name not in self.tensors:
            raise UserError(f"tensor {name!r} is missing", where=self.path)
        self.used.add(name)
        return self.tensors[name]

    def indexes(self, pattern: str) -> list[int]:
        """The numbers that stand for `#` in the names of module tensors that match the regular expression."""
        matches = (re.fullmatch(pattern.replace("#", r"(\d+)"), name) for name in self.part("module"))
        return sorted({int(match[1]) for match in matches if match})


def read(path: Path) -> Reference:
    """Read a reference file. Raises UserError when it is none."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        config = json.loads(metadata["config"])
        sizes = {name: int(config[name]) for name in SIZES}
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot be read: {str(error).splitlines()[0]}", where=path) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"not a reference file: bad metadata ({error})", where=path) from None
    variant = metadata.get("variant", "")
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS, path)
    return Reference(path, variant, config | sizes, tensors)


def build_backbone(reference: Reference) -> Backbone:
    """A transformers BertModel with the trunk's weights."""
    config, embeddings = reference.config, "trunk.embeddings"
    settings = BertConfig(
        vocab_size=reference.get(f"{embeddings}.word_embeddings.weight").shape[0],
        max_position_embeddings=reference.get(f"{embeddings}.position_embeddings.weight").shape[0],
        type_vocab_size=reference.get(f"{embeddings}.token_type_embeddings.weight").shape[0],
        layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        hidden_act="gelu",
        **{name: config[name] for name in SIZES[:4]},
    )
    model = BertModel(settings).eval()
    model.load_state_dict(reference.part("trunk"))
    return Backbone(model, None, str(reference.path))


def dense(ours: str, released: str) -> Names:
    return {f"{ours}.{kind}": f"{released}.{kind}" for kind in ("weight", "bias")}


def norm(ours: str, released: str) -> Names:
    return {f"{ours}.gain": f"{released}.LayerNorm.gamma", f"{ours}.bias": f"{released}.LayerNorm.beta"}


def attended(ours: str, released: str) -> Names:
    """A self-attention sublayer with output projection and norm."""
    names = dense(f"{ours}.output", f"{released}.output.dense") | norm(f"{ours}.norm", f"{released}.output")
    for part in ("query", "key", "value"):
        names |= dense(f"{ours}.{part}", f"{released}.self.{part}")
    return names


def width(reference: Reference, released: str) -> int:
    return reference.get(f"module.{released}.weight".format(k=0)).shape[0]


def pal(reference: Reference, place: str = "multi_layers", *, lhuc: bool = False, **settings: Any) -> tuple[PAL, Names]:
    """A PAL at `encoder.layer.i.{place}.k`; V stands in every layer, or once."""
    path = f"encoder.layer.{{i}}.{place}.{{k}}"
    layers = reference.indexes(rf"encoder\.layer\.#\.{place}\.0\.attn\.query\.weight")
    projections = reference.indexes(rf"encoder\.layer\.#\.{place}\.0\.aug_dense\.weight")
    if not layers or not projections:
        raise UserError("the weights of the PALs are missing", where=reference.path)
    shared = len(projections) == 1
    names: Names = {}
    for i in layers:
        ours, v = ("", projections[0]) if shared else (f"{i}.", i)
        names |= dense(f"{ours}encode", path.format(i=v, k="{k}") + ".aug_dense")
        names |= dense(f"{ours}decode", path.format(i=v, k="{k}") + ".aug_dense2")
        for part in ("query", "key", "value"):
            names |= dense(f"{i}.{part}", path.format(i=i, k="{k}") + f".attn.{part}")
        if lhuc:
            names[f"{i}.lhuc"] = f"encoder.layer.{i}.multi_lhuc.{{k}}.lhuc"
    r = width(reference, path.format(i=projections[0], k="{k}") + ".aug_dense")
    method = PAL(width=r, heads=PAL_HEADS, share_v=shared, lhuc=lhuc, layers=tuple(layers), **settings)
    return method, names


def bottlenecks(reference: Reference, places: dict[str, str]) -> tuple[dict[str, Any], Names]:
    """Width and layers, and names, of two dense maps per layer at the released places; ours: "down|up"."""
    names: Names = {}
    layers: list[int] = []
    for ours, place in places.items():
        down, up = ours.split("|")
        layers = reference.indexes(rf"encoder\.layer\.#\.{re.escape(place)}\.0\.aug_dense\.weight")
        for i in layers:
            path = f"encoder.layer.{i}.{place}.{{k}}"
            names |= dense(f"{i}.{down}", f"{path}.aug_dense") | dense(f"{i}.{up}", f"{path}.aug_dense2")
    if not layers:
        raise UserError("the weights of the modules are missing", where=reference.path)
    r = width(reference, f"encoder.layer.{layers[0]}.{place}.{{k}}.aug_dense")
    return {"width": r, "layers": tuple(layers)}, names


ATTENTION_PLACE = {"attention.down|attention.up": "attention.output.multi_layers"}
FFN_PLACE = {"ffn.down|ffn.up": "output.multi_layers"}


def low_rank(reference: Reference) -> list[tuple[Method, Names]]:
    settings, names = bottlenecks(reference, {"encode|decode": "multi_layers"})
    return [(LowRank(**settings), names)]


def lhuc(reference: Reference) -> list[tuple[Method, Names]]:
    layers = reference.indexes(r"encoder\.layer\.#\.multi_lhuc\.0\.lhuc")
    if not layers:
        raise UserError("the scales are missing", where=reference.path)
    return [(LHUC(layers=tuple(layers)), {f"{i}.scale": f"encoder.layer.{i}.multi_lhuc.{{k}}.lhuc" for i in layers})]


def houlsby(reference: Reference) -> list[tuple[Method, Names]]:
    settings, names = bottlenecks(reference, ATTENTION_PLACE | FFN_PLACE)
    return [(Adapter(form="released", **settings), names)]


def houlsby_pal(reference: Reference) -> list[tuple[Method, Names]]:
    settings, names = bottlenecks(reference, ATTENTION_PLACE)
    after_attention = (Adapter(sublayers="attention", **settings), names)
    return [after_attention, pal(reference, "output.multi_layers", reads="ffn_input")]


def top_bert_layer(reference: Reference) -> list[tuple[Method, Names]]:
    path = "encoder.multi_layers.{k}"
    names = attended("attention", f"{path}.attention") | norm("ffn.norm", f"{path}.output")
    names |= dense("ffn.up", f"{path}.intermediate.dense") | dense("ffn.down", f"{path}.output.dense")
    return [(TopLayer(), names)]


def top_projected_attention(reference: Reference) -> list[tuple[Method, Names]]:
    names = dense("encode", "encoder.mult_dense.{k}") | dense("decode", "encoder.mult_dense2.{k}")
    layers = reference.indexes(r"encoder\.multi_layers\.0\.#\.self\.query\.weight")
    for i in layers:
        names |= attended(f"{i}", f"encoder.multi_layers.{{k}}.{i}")
    r = width(reference, "encoder.mult_dense.{k}")
    return [(TopAttention(width=r, heads=TOP_HEADS, depth=max(1, len(layers))), names)]


VARIANTS: dict[str, Callable[[Reference], list[tuple[Method, Names]]]] = {
    "pal": lambda reference: [pal(reference)],
    "pal_lhuc": lambda reference: [pal(reference, lhuc=True)],
    "low_rank": low_rank,
    "lhuc": lhuc,
    "houlsby": houlsby,
    "houlsby_pal": houlsby_pal,
    "top_bert_layer": top_bert_layer,
    "top_projected_attention": top_projected_attention,
}


def build_banks(reference: Reference, backbone: Backbone) -> list[Bank]:
    """The variant's banks on the backbone, one expert per task, with the file's weights. Raises UserError."""
    tasks = [str(k) for k in range(reference.config["num_tasks"])]
    banks = []
    for method, names in VARIANTS[reference.variant](reference):
        bank = Bank(method, backbone, tasks).eval()
        for k in tasks:
            weights = {ours: reference.get(f"module.{name.format(k=k)}") for ours, name in names.items()}
            bank.stack.load_expert(k, weights)
        banks.append(bank)
    unused = sorted(name for name in reference.tensors if name.startswith("module.") and name not in reference.used)
    if unused:
        raise UserError(f"tensor {unused[0]!r} does not belong to variant {reference.variant}", where=reference.path)
    return banks


def outputs(
    reference: Reference, backbone: Backbone, banks: Sequence[Bank], experts: Sequence[int]
) -> dict[str, Tensor]:
    """The batch repeated for each of the K experts: name of the output to K * B rows, copy by copy."""
    ids, types, mask = (
        reference.get(f"input.{name}").repeat(max(1, len(experts)), 1)
        for name in ("ids", "token_type_ids", "attention_mask")
    )
    rows = ids.shape[0] // max(1, len(experts))
    local = torch.arange(len(experts)).repeat_interleave(rows) if len(experts) > 1 else None
    layer0: list[Tensor] = []
    with ExitStack() as stack, torch.inference_mode():
        for bank in banks if experts else []:
            stack.enter_context(bank.rows(experts, local, mask))
        # After the banks' own hooks, so that it sees what leaves the layer.
        stack.callback(backbone.port(Site("layer", 0)).hook(layer0.append).remove)
        hidden = backbone.model(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state
        found = {"layer0": layer0[0], "last_hidden_state": hidden}
        if backbone.pooler is not None:
            found["pooled"] = torch.tanh(backbone.pooler(hidden[:, 0]))
    return found


def compare(path: Path) -> list[tuple[str, float]]:
    """Name and largest absolute difference of every output of a file. Raises UserError."""
    reference = read(path)
    try:
        backbone = build_backbone(reference)
        banks = build_banks(reference, backbone)
        mask, tasks = reference.get("input.attention_mask").bool(), reference.config["num_tasks"]
        rows = mask.shape[0]
        mixed = outputs(reference, backbone, banks, range(tasks))
        runs = {"trunk_only": [("trunk_only", outputs(reference, backbone, banks, []))]}
        for k in range(tasks):
            part = {name: value[k * rows : (k + 1) * rows] for name, value in mixed.items()}
            alone = outputs(reference, backbone, banks, [k])
            runs[f"task{k}"] = [(f"task{k}", alone), (f"task{k} mixed", part)]
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the weights do not fit the sizes: {reason}", where=path) from None
    results = []
    for name, expected in sorted(reference.part("expected").items()):
        who, _, what = name.partition(".")
        if what not in mixed or who not in runs:
            raise UserError(f"unknown output {name!r}", where=path)
        for label, found in runs[who]:
            if found[what].shape != expected.shape:
                shapes = f"{tuple(expected.shape)}, not {tuple(found[what].shape)}"
                raise UserError(f"output {name!r} is {shapes}", where=path)
            difference = (found[what] - expected).abs()
            results.append((f"{label}.{what}", float((difference if what == "pooled" else difference[mask]).max())))
    if not results:
        raise UserError("no expected outputs", where=path)
    return results


def main(arguments: Sequence[str]) -> int:
    """Print every difference; see the module's description for the exit code."""
    if not arguments:
        print("usage: python tests/parity/pals.py FILE...", file=sys.stderr)
        return 2
    worst, code = 0.0, 0
    for argument in arguments:
        try:
            results = compare(Path(argument))
        except UserError as error:
            place = "" if argument in str(error) else f"{argument}: "
            print(f"error: {place}{error}", file=sys.stderr)
            code = 2
            continue
        print(argument)
        for name, difference in results:
            close = difference <= TOLERANCE  # false for NaN
            print(f"  {name:34} {difference:.2e}{'' if close else f'  above {TOLERANCE:.0e}'}")
            code = max(code, 0 if close else 1)
            worst = worst if difference <= worst else difference
    print(f"largest difference: {worst:.2e}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
