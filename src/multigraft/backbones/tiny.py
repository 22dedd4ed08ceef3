"""Random small models of every family, made from code, for tests."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    EncoderDecoderConfig,
    PreTrainedTokenizerFast,
)

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
_T5: dict[str, Any] = {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4,
                       "decoder_start_token_id": 0, "eos_token_id": 3}  # fmt: skip
_LLAMA: dict[str, Any] = {
    "num_key_value_heads": 2,
    "head_dim": 6,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_RATES = ("dropout_rate", "dropout", "attention_dropout", "activation_dropout", "hidden_dropout", "resid_pdrop",
          "embd_pdrop", "attn_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob")  # fmt: skip
_STILL = dict.fromkeys(_RATES, 0.0)
_TEXT_FAMILIES: dict[str, dict[str, Any]] = {
    "t5": _T5,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "bart": {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "pad_token_id": 0,
             "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "forced_eos_token_id": None},
    "encoder-decoder": {},
    "gpt2": {"n_inner": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "gpt_neox": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": {**_LLAMA, "query_pre_attn_scalar": 6},
    "gemma3_text": {**_LLAMA, "query_pre_attn_scalar": 6},
    "smollm3": _LLAMA,
}  # fmt: skip
TINY_TEXT_FAMILIES: tuple[str, ...] = tuple(_TEXT_FAMILIES)


def tiny_tokenizer(*, marks: bool = True) -> PreTrainedTokenizerFast:
    """A word tokenizer of 67 entries: five special tokens, the letters, the digits and some words.

    With `marks`, texts begin with [CLS] and end with [SEP], which is the end token; decoders' have none.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    sentence = "the a not is good bad big small cat dog red blue yes no who why where one two more"
    words = sentence.split(" ")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1) if chr(c) not in words]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *"0123456789", *".,?!:'-"]
    vocabulary = {word: index for index, word in enumerate(entries[:67])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "eos_token": "[SEP]",
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
    return Backbone(_drawn(AutoModel, settings, seed), tiny_tokenizer(), f"tiny-{family}")


def tiny_text_backbone(family: str = "t5", *, seed: int = 0, **config: Any) -> Backbone:
    """A random text-to-text backbone of the family: D 24, H 4, two or three layers a stack, as `tiny_backbone`."""
    if family == "encoder-decoder":
        # Two records: the decoder's is changed in the making.
        halves = [
            AutoConfig.for_model("bert", **{**_COMMON, **_STILL, "num_hidden_layers": 2, **config}) for _ in range(2)
        ]
        settings = EncoderDecoderConfig.from_encoder_decoder_configs(
            *halves, decoder_start_token_id=2, eos_token_id=3, pad_token_id=0
        )
    else:
        settings = AutoConfig.for_model(family, **{**_COMMON, **_STILL, **_TEXT_FAMILIES[family], **config})
    loader = AutoModelForSeq2SeqLM if settings.is_encoder_decoder else AutoModelForCausalLM
    return Backbone(_drawn(loader, settings, seed), tiny_tokenizer(marks=settings.is_encoder_decoder), f"tiny-{family}")


def _drawn(loader: Any, settings: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = loader.from_config(settings, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            gain = parameter.dim() == 1 and name.endswith("weight")
            parameter.data = torch.randn_like(parameter) * 0.2 + float(gain)
    return model.eval()
