"""What modules on top of the backbone have in common.

They change the last hidden state only, so the whole encoder runs once for all tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, Method, Place
from multigraft.methods.functional import attention, layer_norm
from multigraft.methods.parallel import apply_dense, dense
from multigraft.methods.stack import Spec, Weights

EPS = 1e-12  # of the modules' layer norms, as BERT's


def norm(name: str, width: int) -> dict[str, Spec]:
    """Specs of a layer norm that starts with gain 1 and bias 0."""
    return {f"{name}.gain": Spec((width,), fill=1.0), f"{name}.bias": Spec((width,))}


def add_and_norm(weights: Weights, name: str, x: Tensor, update: Tensor) -> Tensor:
    """`LN(x + update)`, both B T R."""
    return layer_norm(x + update, weights[f"{name}.gain"], weights[f"{name}.bias"], EPS)


class TopMethod(Method):
    """A method that acts once, on the last hidden state (arXiv 1902.02671, section 3.2)."""

    headed: ClassVar[bool] = True

    dropout: float = Field(0.1, ge=0, lt=1, description="on attention probabilities and before each residual")

    def places(self, backbone: Backbone) -> list[Place]:
        return [Place(Site("final"), partial(self._replace, backbone.heads))]

    def _replace(self, heads: int, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        return self.transform(weights, value, heads, context)

    @abstractmethod
    def transform(self, weights: Weights, h: Tensor, heads: int, context: Context) -> Tensor:
        """The last hidden state for the expert's task: B T D to B T D; `heads` is the backbone's H."""

    def attend(self, weights: Weights, name: str, x: Tensor, heads: int, context: Context) -> Tensor:
        """A self-attention sublayer with output projection, residual and norm; x: B T R."""
        q, k, v = (apply_dense(weights, f"{name}.{part}", x) for part in ("query", "key", "value"))
        mixed = attention(q, k, v, heads, context.mask, context.dropout(self.dropout))
        return self._join(weights, name, x, apply_dense(weights, f"{name}.output", mixed), context)

    def feed(self, weights: Weights, name: str, x: Tensor, context: Context) -> Tensor:
        """A feed-forward sublayer with residual and norm; x: B T R."""
        inner = F.gelu(apply_dense(weights, f"{name}.up", x))
        return self._join(weights, name, x, apply_dense(weights, f"{name}.down", inner), context)

    def _join(self, weights: Weights, name: str, x: Tensor, update: Tensor, context: Context) -> Tensor:
        update = F.dropout(update, self.dropout, training=context.training)
        return add_and_norm(weights, f"{name}.norm", x, update)


def attention_specs(name: str, width: int) -> dict[str, Spec]:
    """Specs of `TopMethod.attend`."""
    maps = [dense(f"{name}.{part}", width, width) for part in ("query", "key", "value", "output")]
    return {key: spec for part in maps for key, spec in part.items()} | norm(f"{name}.norm", width)


def feed_specs(name: str, width: int, inner: int) -> dict[str, Spec]:
    """Specs of `TopMethod.feed`."""
    return dense(f"{name}.up", width, inner) | dense(f"{name}.down", inner, width) | norm(f"{name}.norm", width)
