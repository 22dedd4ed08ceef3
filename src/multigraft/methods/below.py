"""What lies below the first module of a frozen backbone: it runs alone, or is left out where its result is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from multigraft.backbones.families import layers_of
from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Port, Site


class Below:
    """The layers of a backbone below layer `first`, which all experts share.

    Their result are the hidden states that layer `first` reads: B T D. An encoder-decoder without modules in its
    encoder has the whole encoder below, whose result are the states that the decoder attends to.
    """

    def __init__(self, backbone: Backbone, first: int) -> None:
        own = sum(stack is backbone.family.stacks[0] for stack, _ in layers_of(backbone.model, backbone.family))
        layers = [backbone.layer(i) for i in range(own)]
        self.reader = backbone.reader(0)
        self.whole = first >= own and backbone.writes
        self._below, self._above = layers[:first], layers[first:]
        self._port = Port(layers[first], "input") if first < own else backbone.port(Site("final"))
        self._rest: tuple[Any, ...] | None = None  # what a layer gives behind the hidden states; None: no tuple at all

    def splits(self, reads: Mapping[str, Tensor]) -> bool:
        """Is nothing but the hidden states handed from layer to layer? Tried on a batch, before all else."""
        if self.whole:
            return True
        given: list[Any] = []
        handle = self._below[0].register_forward_hook(lambda layer, args, output: given.append(output))
        try:
            with torch.no_grad():
                self.reader(**reads)
        finally:
            handle.remove()
        self._rest = given[0][1:] if isinstance(given[0], tuple) else None
        return not any(isinstance(value, Tensor) for value in self._rest or ())

    @torch.no_grad()
    def states(self, reads: Mapping[str, Tensor]) -> Tensor:
        """Their result for ids and masks B T, as the backbone's first stack takes them: B T D."""
        if self.whole:
            return self.reader(**reads).last_hidden_state  # type: ignore[no-any-return]
        found: list[Tensor] = []
        handle = self._port.hook(found.append)
        try:
            with _standing_in(self._above, self._unchanged):
                self.reader(**reads)
        finally:
            handle.remove()
        return found[0]

    @contextmanager
    def known(self, states: Tensor) -> Iterator[None]:
        """Within the block they do not run, and the backbone goes on from `states`: B T D."""
        if self.whole:
            with _standing_in([self.reader], lambda *args, **kwargs: BaseModelOutput(last_hidden_state=states)):
                yield
            return
        # Before the bank's own hooks, which read and change these states.
        handle = self._port.hook(lambda value: states, prepend=True)
        try:
            with _standing_in(self._below, self._unchanged):
                yield
        finally:
            handle.remove()

    def _unchanged(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Any:
        return hidden_states if self._rest is None else (hidden_states, *self._rest)


@contextmanager
def _standing_in(modules: Sequence[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block, `forward` is called in place of what the modules do; their hooks are called as ever."""
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        module.forward = forward
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            del module.forward
            if own is not None:
                module.forward = own
