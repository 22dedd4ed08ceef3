"""Named places in a backbone where a module may act, independent of the model family.

A site is a tensor that flows through the backbone: `B T D` everywhere except inside `linear`, where the
last axis is the linear map's own width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn, stack
from torch.utils.hooks import RemovableHandle

SiteKind = Literal[
    "embeddings",  # what enters the first layer
    "layer_input",  # what the layer's first sublayer reads
    "attention_output",  # what the attention sublayer adds to the residual
    "ffn_input",  # what the feed-forward sublayer reads
    "ffn_output",  # what the feed-forward sublayer adds to the residual
    "layer_sum",  # the residual sum that leaves the layer, before the layer's last norm if it has one there
    "layer",  # what leaves the layer
    "linear",  # the output of one linear map of the layer: q, k, v, o, up, down, gate, cross_q, ...
    "linear_input",  # what that map reads
    "bias",  # the output of any map of the layer that carries a bias, by its path
    "final",  # the last hidden state
]


@dataclass(frozen=True)
class Site:
    """A place, for example `Site("linear", 3, "q")`, written `linear[3].q`."""

    kind: SiteKind
    layer: int | None = None
    part: str | None = None

    def __str__(self) -> str:
        index = f"[{self.layer}]" if self.layer is not None else ""
        return f"{self.kind}{index}{f'.{self.part}' if self.part else ''}"


@dataclass(frozen=True)
class Port:
    """Where a site is found: the input or the output of a submodule, or a part of its last axis.

    The axis is cut into `heads` shares and each of them into `of` parts; the site is part `index` of every share.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    index: int = 0
    of: int = 1
    heads: int = 1

    def hook(self, change: Callable[[Tensor], Tensor | None], *, prepend: bool = False) -> RemovableHandle:
        """Replace the site's tensor by `change` of it whenever the backbone passes by; None leaves it as it is.

        With `prepend`, before the hooks that are there already.
        """
        if self.side == "input":

            def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if args:
                    new = change(args[0])
                    return None if new is None else ((new, *args[1:]), kwargs)
                new = change(kwargs["hidden_states"])
                return None if new is None else (args, {**kwargs, "hidden_states": new})

            return self.module.register_forward_pre_hook(before, with_kwargs=True, prepend=prepend)

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            new = change(value) if self.of == 1 else self._change_part(value, change)
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return self.module.register_forward_hook(after, prepend=prepend)

    def _change_part(self, whole: Tensor, change: Callable[[Tensor], Tensor | None]) -> Tensor | None:
        parts = list(whole.unflatten(-1, (self.heads, self.of, -1)).unbind(-2))
        new = change(parts[self.index].flatten(-2))
        if new is None:
            return None
        parts[self.index] = new.unflatten(-1, (self.heads, -1))
        return stack(parts, dim=-2).flatten(-3)
