"""A linear map with a non-linearity on top."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context
from multigraft.methods.parallel import apply_dense, dense
from multigraft.methods.stack import Spec, Weights
from multigraft.methods.top import TopMethod


class TopLinear(TopMethod):
    """`h + gelu(W h + b)` per token, W of D D, starting at 0; the skip is ours: a fresh expert changes nothing."""

    name: ClassVar[str] = "top_linear"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.2"
    headed: ClassVar[bool] = False

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        return dense("map", backbone.width, backbone.width, std=0.0)

    def transform(self, weights: Weights, h: Tensor, heads: int, context: Context) -> Tensor:
        update = F.gelu(apply_dense(weights, "map", h))
        return h + F.dropout(update, self.dropout, training=context.training)
