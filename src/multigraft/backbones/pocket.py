"""The embedded text-to-text backbone `pocket`: MiniLM reads, a small decoder of the same width writes.

The encoder is the embedded MiniLM, its weights unchanged. The decoder has MiniLM's word and position embeddings,
tied and frozen, and what is ours and shipped: its layers, the output transform, and a bias per word piece.
All modelling code is transformers' own. A target starts with [CLS] and ends with [SEP].
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn
from transformers import BertConfig, BertLMHeadModel, EncoderDecoderModel, GenerationConfig

from multigraft.backbones.load import load_backbone
from multigraft.errors import UserError
from multigraft.files import write_bytes

POCKET_FILE = Path(__file__).parent / "data" / "pocket.safetensors"
POCKET_SHA256 = "52445b7a555b7a107f0db024e001fdb1dc13e97a5f08f96008cfb00de53ae993"
START_LAYERS = (0, 2, 3, 5)  # the decoder's layers start as these of MiniLM
_PAD, _CLS, _SEP = 0, 101, 102


def build_pocket(seed: int, *, pretrained: bool = True) -> EncoderDecoderModel:
    """The untrained model in float32, in evaluation mode: a decoder layer starts as a layer of MiniLM.

    Cross-attention and output transform, which MiniLM lacks, are drawn from `seed` (Rothe et al. 2020, section 3);
    not `pretrained`: everything is. Only `shipped_parameters` ask for gradients. Raises UserError when MiniLM is
    missing or damaged.
    """
    encoder: Any = load_backbone("minilm", pretrained=pretrained, seed=seed).model
    settings = {
        **encoder.config.to_dict(),
        "is_decoder": True,
        "add_cross_attention": True,
        "num_hidden_layers": len(START_LAYERS),
        "architectures": ["BertLMHeadModel"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder: Any = BertLMHeadModel(BertConfig(**settings))
    for layer, start in zip(decoder.bert.encoder.layer, START_LAYERS) if pretrained else ():
        layer.load_state_dict(encoder.encoder.layer[start].state_dict(), strict=False)  # all but cross-attention
    _tie(decoder, encoder)
    model: Any = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    tokens = {"decoder_start_token_id": _CLS, "eos_token_id": _SEP, "pad_token_id": _PAD}
    model.config.update({**tokens, "vocab_size": encoder.config.vocab_size})
    model.generation_config = GenerationConfig(**tokens)
    model.requires_grad_(False)
    for parameter in shipped_parameters(model).values():
        parameter.requires_grad_(True)
    return model.eval()


def _tie(decoder: Any, encoder: Any) -> None:
    """Let the decoder's embeddings and output words be the encoder's parameters.

    The modules stay apart, so that what acts at the embeddings of the one does not act at those of the other.
    """
    for name, parameter in encoder.embeddings.named_parameters():
        module, _, last = name.rpartition(".")
        setattr(decoder.bert.embeddings.get_submodule(module), last, parameter)
    decoder.tie_weights()


def shipped_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained and shipped, by name: the decoder's layers, the output transform and the output bias."""
    named = model.named_parameters()  # names each tied parameter once
    return {n: p for n, p in named if n.startswith(("decoder.bert.encoder.", "decoder.cls."))}


def save_pocket(model: nn.Module, path: Path) -> str:
    """Write `shipped_parameters` in 16 bit, whole or not at all. Returns the file's SHA-256."""
    tensors = {n: p.detach().to("cpu", torch.float16).contiguous() for n, p in shipped_parameters(model).items()}
    data = save(tensors)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def load_pocket(path: Path = POCKET_FILE, sha256: str = POCKET_SHA256) -> EncoderDecoderModel:
    """The trained model in float32.

    Raises UserError when the weights, or those of MiniLM, are missing or not the published ones.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"no weights of pocket: {error.strerror}", where=path, fix="reinstall multigraft") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise UserError(f"damaged weights: SHA-256 {found}, expected {sha256}", where=path, fix="reinstall multigraft")
    model = build_pocket(0)
    tensors, parameters = load(data), shipped_parameters(model)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    return model
