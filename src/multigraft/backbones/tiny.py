"""Random small models of every family, made from code, for tests."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from multigraft.backbones.load import Backbone

_COMMON: dict[str, Any] = {
    "vocab_size": 67,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}
_FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "xlm-roberta": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "distilbert": {"hidden_dim": 40, "dim": 24, "n_layers": 3, "n_heads": 4},
    "electra": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8,
                   "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
                   "type_vocab_size": 0},
    "modernbert": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
                   "local_attention": 8, "global_attn_every_n_layers": 2},
    "mpnet": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
}  # fmt: skip
TINY_FAMILIES: tuple[str, ...] = tuple(_FAMILIES)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word tokenizer of 67 entries: five special tokens, the letters, the digits and some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    sentence = "the a not is good bad big small cat dog red blue yes no who why where one two more"
    words = sentence.split(" ")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1) if chr(c) not in words]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *"0123456789", *".,?!:'-"]
    vocabulary = {word: index for index, word in enumerate(entries[:67])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names)


def tiny_backbone(family: str = "bert", *, seed: int = 0, dropout: float = 0.0, **config: Any) -> Backbone:
    """A random backbone of the family: D 24, L 3, H 4, in float32, weights drawn from `seed`.

    Weights and biases are drawn wide (standard deviation 0.2), so that no two hidden states are alike
    and a misplaced module shows.
    """
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if family == "distilbert":
        rates = {"dropout": dropout, "attention_dropout": dropout}
    elif family == "modernbert":
        rates = {"mlp_dropout": dropout, "attention_dropout": dropout, "embedding_dropout": dropout}
    settings = AutoConfig.for_model(family, **{**_COMMON, **_FAMILIES[family], **rates, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(settings, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            gain = parameter.dim() == 1 and name.endswith("weight")
            parameter.data = torch.randn_like(parameter) * 0.2 + float(gain)
    return Backbone(model.eval(), tiny_tokenizer(), f"tiny-{family}")
