"""How a soft prompt may start: functions that give P x E vectors in the space of a backbone's word embeddings.

Words are taken as the backbone's first layer gets them, so where a family scales its embeddings, a prompt is scaled
too. A prompt made here enters a bank with `bank.stack.load_expert(name, {"prompt": vectors})`, whatever its length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError

FREQUENT = 5000  # tokens, as in Lester et al. 2021, arXiv 2104.08691, section 3.2
# Entries that stand for no word: [unused7], <extra_id_0>, <0x0A>, <|im_start|>.
_MARK = re.compile(r"[\[<].*[\]>]")


def uniform(length: int, width: int, generator: torch.Generator) -> Tensor:
    """Between -0.5 and 0.5, each value for itself (arXiv 2104.08691, section 3.2): P E."""
    return torch.rand(length, width, generator=generator) - 0.5


def frequent_tokens(backbone: Backbone, texts: Iterable[str] | None = None, count: int = FREQUENT) -> list[int]:
    """Ids of the `count` most frequent tokens of the texts, or without texts of the vocabulary, most frequent first.

    Vocabularies are ordered by frequency, or by the merges that made them, which is nearly the same: so its first
    entries are taken, without special tokens and marks. Raises UserError when no token is left.
    """
    tokenizer = backbone.tokenizer
    special = set(tokenizer.all_special_ids)
    if texts is None:
        ids: Iterable[int] = range(len(tokenizer))
    else:
        counts: Counter[int] = Counter()
        for text in texts:
            counts.update(tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = sorted(counts, key=lambda token: (-counts[token], token))
    found: list[int] = []
    for token in ids:
        if len(found) == count:
            break
        word = tokenizer.convert_ids_to_tokens(token)
        if token not in special and word is not None and not _MARK.fullmatch(word):
            found.append(token)
    if not found:
        raise UserError("no tokens to start a prompt from", where=backbone.name, fix="give texts with words in them")
    return found


def sampled(backbone: Backbone, length: int, generator: torch.Generator, tokens: Sequence[int] | None = None) -> Tensor:
    """The embeddings of tokens drawn at random, by default from `frequent_tokens`: P E.

    None is drawn twice unless there are fewer than P.
    """
    pool = torch.tensor(frequent_tokens(backbone) if tokens is None else list(tokens))
    if len(pool) < length:
        drawn = pool[torch.randint(len(pool), (length,), generator=generator)]
    else:
        drawn = pool[torch.randperm(len(pool), generator=generator)[:length]]
    return _embedded(backbone, drawn)


def from_text(backbone: Backbone, text: str, length: int) -> Tensor:
    """The embeddings of a text's tokens, cut or repeated to P: P E. Raises UserError for a text without tokens."""
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError("a text without tokens", where="text", fix="say what the prompt should start from")
    return resized(_embedded(backbone, torch.tensor(ids)), length)


def from_labels(
    backbone: Backbone,
    labels: Sequence[str],
    length: int,
    generator: torch.Generator,
    tokens: Sequence[int] | None = None,
) -> Tensor:
    """The embeddings of class labels, then of `sampled` tokens where labels run out (arXiv 2104.08691, section 3.2).

    A label of several tokens is their mean; one without any is left out. Gives P E.
    """
    ids = [backbone.tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
    means = [_embedded(backbone, torch.tensor(one)).mean(0, keepdim=True) for one in ids if one]
    return torch.cat([*means, sampled(backbone, length, generator, tokens)])[:length]


def combined(prompts: Sequence[Tensor], weights: Sequence[float] | None = None, length: int | None = None) -> Tensor:
    """The weighted sum of prompts P E, cut or repeated to one length: by default that of the first.

    Without weights each has the same, and they add up to 1; with one prompt it is that prompt. Raises UserError when
    there is none, when there is not a weight for each, or when widths differ.
    """
    if not prompts or (weights is not None and len(weights) != len(prompts)):
        given = "none" if weights is None else str(len(weights))
        raise UserError(f"{len(prompts)} prompts and {given} weights", where="prompts", fix="give a weight for each")
    if len({prompt.shape[1] for prompt in prompts}) > 1:
        widths = sorted({prompt.shape[1] for prompt in prompts})
        raise UserError(f"prompts of widths {widths}", where="prompts", fix="take prompts of one backbone")
    shares = [1 / len(prompts)] * len(prompts) if weights is None else weights
    length = len(prompts[0]) if length is None else length
    return torch.stack([share * resized(prompt, length) for share, prompt in zip(shares, prompts, strict=True)]).sum(0)


def resized(prompt: Tensor, length: int) -> Tensor:
    """A prompt's first P vectors, from the beginning again where it has fewer: P E."""
    return prompt.repeat(-(-length // len(prompt)), 1)[:length]


def _embedded(backbone: Backbone, ids: Tensor) -> Tensor:
    with torch.no_grad():
        device = next(backbone.model.parameters()).device
        return backbone.embed(ids.to(device)).detach().cpu().float()
