"""Soft prompts: trained vectors in front of the embedded text, and nothing else."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Place
from multigraft.methods.front import PromptMethod
from multigraft.methods.prompt_init import from_text, sampled, uniform
from multigraft.methods.stack import Spec, Weights


class SoftPrompt(PromptMethod):
    """`[p_1 ... p_P; e(x_1) ... e(x_T)]`, read by the encoder, or by a decoder alone.

    An expert may have another length than the bank's; the vectors have the width E of the word embeddings.
    """

    name: ClassVar[str] = "soft_prompt"
    paper: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691, section 2; Vu et al. 2022, arXiv 2110.07904"
    free: ClassVar[frozenset[str]] = frozenset({"length", "init", "text"})

    init: Literal["vocabulary", "text", "random"] = Field(
        "vocabulary",
        description="how an expert starts: tokens drawn from the 5,000 most frequent of the vocabulary, those of "
        "`text`, or values between -0.5 and 0.5",
    )
    text: str | None = Field(None, min_length=1, description="whose tokens a prompt starts from, cut or repeated to P")

    @model_validator(mode="after")
    def _text_where_asked(self) -> SoftPrompt:
        if (self.init == "text") != (self.text is not None):
            raise ValueError("'init: text' and 'text' go together")
        return self

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        shape = (self.length, backbone.embedding_width)
        return {"prompt": Spec(shape, draw=partial(self._start, backbone), ragged=True)}

    def places(self, backbone: Backbone) -> list[Place]:
        return []

    def vectors(self, weights: Weights) -> Tensor:
        return weights["prompt"]

    def _start(self, backbone: Backbone, generator: torch.Generator) -> Tensor:
        if self.init == "random":
            return uniform(self.length, backbone.embedding_width, generator)
        if self.text is not None:
            return from_text(backbone, self.text, self.length)
        return sampled(backbone, self.length, generator)
