"""PEFT's checkpoints of LoRA and of soft prompts: `adapter_config.json` and `adapter_model.safetensors`.

As PEFT 0.21 writes and reads them. A LoRA of PEFT's may have another rank and scale in every map, and sits on
whichever maps it names; ours has one rank and scale, and sits on the same maps of all its layers. What is read is
filled up with zeros and rescaled where need be: the outputs are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import safetensors.torch
import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Port, Site
from multigraft.errors import UserError
from multigraft.files import new_folder, write_bytes, write_json
from multigraft.library.objects import parse_tensors
from multigraft.methods.base import Method
from multigraft.methods.lora import LoRA, Map
from multigraft.methods.soft_prompt import SoftPrompt
from multigraft.settings import read_yaml

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_PROMPT = "prompt_embeddings"
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_TASKS = {"encoder": "FEATURE_EXTRACTION", "encoder_decoder": "SEQ_2_SEQ_LM", "decoder": "CAUSAL_LM"}
# Settings that make of a LoRA something else than `y + s B A x` on the backbone as it is.
_OTHER_LORAS = (
    "use_dora", "lora_bias", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters",
    "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "velora_config", "monteclora_config",
    "kasa_config",
)  # fmt: skip
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")  # the others change the backbone too


class Checkpoint(NamedTuple):
    """A method with its settings, the tensors of one expert, and what PEFT says of where they come from."""

    method: Method
    tensors: dict[str, Tensor]
    backbone: str | None
    version: str | None


def peft_backbone(folder: Path) -> str | None:
    """The backbone that a checkpoint names. Raises UserError when there is no checkpoint."""
    return cast("str | None", _config(folder).get("base_model_name_or_path"))


def read_peft(folder: Path, backbone: Backbone) -> Checkpoint:
    """A checkpoint as an expert on the backbone that it was trained on.

    Raises UserError for another kind than LoRA and soft prompts, for variants that compute something else, for tensors
    that do not fit the backbone, for damaged files, and for pickles.
    """
    config = _config(folder)
    kind, path = config.get("peft_type"), folder / WEIGHTS
    if kind not in ("LORA", "PROMPT_TUNING"):
        raise UserError(f"a checkpoint of {kind}", where=folder / CONFIG, fix="give one of LORA or PROMPT_TUNING")
    if not path.exists() and (folder / PICKLE).exists():
        raise UserError("a pickle, which is never opened", where=folder / PICKLE, fix=f"save it as {WEIGHTS}")
    try:
        tensors = parse_tensors(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
    method, named = (_read_lora if kind == "LORA" else _read_prompt)(config, tensors, backbone, folder)
    return Checkpoint(method, named, config.get("base_model_name_or_path"), config.get("peft_version"))


def write_peft(
    folder: Path, method: Method, tensors: Mapping[str, Tensor], backbone: Backbone, name: str | None = None
) -> None:
    """Write an expert as a checkpoint for PEFT; `name`: of the backbone, where it is not its own.

    Raises UserError for another method than LoRA and soft prompts, and for a folder that holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("there is something already", where=folder, fix="name a new folder")
    if isinstance(method, LoRA):
        config, named = _write_lora(method, tensors, backbone)
    elif isinstance(method, SoftPrompt):
        config, named = _write_prompt(tensors["prompt"], backbone)
    else:
        raise UserError(f"PEFT has no {method.name} of this form", fix="export a lora or a soft_prompt")
    about = {
        "base_model_name_or_path": name or backbone.name,
        "task_type": _TASKS[backbone.family.kind],
        "inference_mode": True,
    }
    with new_folder(folder) as new:
        write_json(new / CONFIG, about | config)
        write_bytes(new / WEIGHTS, safetensors.torch.save(named, {"format": "pt"}))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.exists():
        raise UserError(f"not a checkpoint of PEFT: {CONFIG} is missing", where=folder)
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError("expected named values", where=path)
    return config


class _Piece(NamedTuple):
    """The LoRA of one map: R x inputs, outputs x R, and its scale."""

    a: Tensor
    b: Tensor
    scale: float


def _read_lora(
    config: dict[str, Any], tensors: dict[str, Tensor], backbone: Backbone, folder: Path
) -> tuple[Method, dict[str, Tensor]]:
    where = folder / CONFIG
    other = [key for key in _OTHER_LORAS if config.get(key)]
    other += ["bias"] if config.get("bias", "none") != "none" else []
    other += ["init_lora_weights"] if config.get("init_lora_weights", True) not in _PLAIN_STARTS else []
    if other:
        raise UserError(f"a LoRA with {other[0]} = {config[other[0]]!r}, which is none of ours", where=where)
    pieces: dict[tuple[int, Map], _Piece] = {}
    places = _places(backbone)
    for module, sides in _modules(tensors, folder).items():
        ours = next((name for name in places if module == name or module.endswith(f".{name}")), None)
        if ours is None:
            what = f"a LoRA on {module!r}, which is no linear map of {backbone.name} that ours know, or is named twice"
            raise UserError(what, where=folder / WEIGHTS)
        a, b = sides["A"], sides["B"]
        scale = _scale(config, module, len(a), where)
        for (layer, part), port in places.pop(ours).items():
            inputs, outputs = backbone.linear(layer, part)
            if a.shape[1] != inputs or b.shape != (outputs * port.of, len(a)):
                raise UserError(
                    f"the LoRA on {module!r} is {_shape(b)} by {_shape(a)}, the map {outputs * port.of} x {inputs}",
                    where=folder / WEIGHTS,
                    fix="give the backbone it was trained on",
                )
            own = b.unflatten(0, (port.heads, port.of, -1))[:, port.index].flatten(0, 1)
            pieces[layer, part] = _Piece(a, own, scale)
    rank, scale = max(len(piece.a) for piece in pieces.values()), max(piece.scale for piece in pieces.values())
    layers, parts = {layer for layer, _ in pieces}, {part for _, part in pieces}
    method = LoRA(
        rank=rank,
        alpha=scale * rank,
        maps=tuple(part for part in get_args(Map) if part in parts),
        layers="every" if len(layers) == backbone.depth else tuple(sorted(layers)),
        dropout=float(config.get("lora_dropout") or 0),
    )
    found = {key: torch.zeros(spec.shape) for key, spec in method.specs(backbone).items()}
    for (layer, part), piece in pieces.items():
        found[f"{layer}.{part}.a"][: len(piece.a)] = piece.a
        found[f"{layer}.{part}.b"][:, : len(piece.a)] = piece.b * (piece.scale / scale)
    return method, found


def _modules(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, dict[str, Tensor]]:
    """The two tensors of each adapted module."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _TENSOR.fullmatch(key)
        if match is None or tensor.dim() != 2:
            raise UserError(f"{key!r} is no part of a LoRA on linear maps", where=folder / WEIGHTS)
        modules.setdefault(match["module"], {})[match["side"]] = tensor.float()
    half = next((name for name, sides in modules.items() if len(sides) < 2), None)
    if half is not None or not modules:
        raise UserError(f"half of the LoRA on {half!r} is missing" if half else "holds no LoRA", where=folder / WEIGHTS)
    return modules


def _scale(config: dict[str, Any], module: str, rank: int, where: Path) -> float:
    patterns = config.get("alpha_pattern") or {}
    try:
        key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        alpha = float(config["lora_alpha"] if key is None else patterns[key])
    except (KeyError, TypeError, ValueError, re.error):
        raise UserError("'lora_alpha' or 'alpha_pattern' is missing or no number", where=where) from None
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _places(backbone: Backbone) -> dict[str, dict[tuple[int, Map], Port]]:
    """The linear maps of each module of the backbone that holds any; several where they are fused in one."""
    names = {module: name for name, module in backbone.model.named_modules()}
    found: dict[str, dict[tuple[int, Map], Port]] = {}
    for layer in range(backbone.depth):
        for part in get_args(Map):
            try:
                port = backbone.port(Site("linear", layer, part))
            except UserError:
                continue
            found.setdefault(names[port.module], {})[layer, part] = port
    return found


def _write_lora(
    lora: LoRA, tensors: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Where a module holds several maps, PEFT has one LoRA for all: its rank is the sum of theirs, its B has blocks."""
    scale, adapted = lora.alpha / lora.rank, set(lora.adapted(backbone))
    named: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for module, places in _places(backbone).items():
        chosen = [(place, port) for place, port in places.items() if place in adapted]
        if not chosen:
            continue
        a = torch.cat([tensors[f"{layer}.{part}.a"] for (layer, part), _ in chosen])
        blocks = []
        for (layer, part), port in chosen:
            b = tensors[f"{layer}.{part}.b"]
            whole = b.new_zeros(port.heads, port.of, len(b) // port.heads, lora.rank)
            whole[:, port.index] = b.unflatten(0, (port.heads, -1))
            blocks.append(whole.flatten(0, 2))
        name = f"base_model.model.{module}"
        named |= {f"{name}.lora_A.weight": a.contiguous(), f"{name}.lora_B.weight": torch.cat(blocks, 1).contiguous()}
        ranks[module] = len(a)
    fused = {module: rank for module, rank in ranks.items() if rank != lora.rank}
    modules = dict(backbone.model.named_modules())
    return {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": _number(lora.alpha),
        "lora_dropout": lora.dropout,
        "bias": "none",
        "target_modules": sorted(ranks),
        "rank_pattern": {re.escape(module): rank for module, rank in fused.items()},
        "alpha_pattern": {re.escape(module): _number(scale * rank) for module, rank in fused.items()},
        "fan_in_fan_out": not all(hasattr(modules[module], "in_features") for module in ranks),
    }, named


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _read_prompt(
    config: dict[str, Any], tensors: dict[str, Tensor], backbone: Backbone, folder: Path
) -> tuple[Method, dict[str, Tensor]]:
    if backbone.family.kind == "encoder_decoder" and config.get("num_transformer_submodules", 2) != 1:
        raise UserError("a prompt for the decoder too", where=folder / CONFIG, fix="give one of the encoder alone")
    prompt = tensors.get(_PROMPT)
    if prompt is None or len(tensors) > 1 or prompt.dim() != 2 or prompt.shape[1] != backbone.embedding_width:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in sorted(tensors.items()))
        raise UserError(
            f"holds {shapes or 'nothing'}; expected {_PROMPT} of P x {backbone.embedding_width}", where=folder / WEIGHTS
        )
    return SoftPrompt(length=len(prompt), init="random"), {"prompt": prompt.float()}


def _write_prompt(prompt: Tensor, backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return {
        "peft_type": "PROMPT_TUNING",
        "prompt_tuning_init": "RANDOM",
        "num_virtual_tokens": len(prompt),
        "token_dim": prompt.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": backbone.heads,
        "num_layers": backbone.depth,
    }, {_PROMPT: prompt.contiguous()}
