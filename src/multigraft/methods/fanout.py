"""One text for many tasks: the layers below the first module run once, then the rows are repeated."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site


@contextmanager
def fan_out(backbone: Backbone, first: int, copies: int, rows: int) -> Iterator[None]:
    """Within the block, layers from `first` on see every row `copies` times: B rows become K * B, copy by copy.

    With `first` = L the last hidden state is repeated. With 0 nothing is done: the caller repeats the inputs.
    """
    handles = []
    if 0 < first < backbone.depth:
        for index in range(first, backbone.depth):
            layer = backbone.layer(index)
            names = list(inspect.signature(layer.forward).parameters)
            widen = _widener(names, set(backbone.family.row_arguments), copies, rows)
            # Before the bank's own hooks, which expect the repeated rows.
            handles.append(layer.register_forward_pre_hook(widen, with_kwargs=True, prepend=True))
    elif first == backbone.depth:
        final = backbone.port(Site("final")).module

        def widen_output(_: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (_repeat(output[0], copies, rows), *output[1:])
            return _repeat(output, copies, rows)

        handles.append(final.register_forward_hook(widen_output, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _widener(names: list[str], wanted: set[str], copies: int, rows: int):  # type: ignore[no-untyped-def]
    def widen(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        changed = [_repeat(a, copies, rows) if name in wanted else a for name, a in zip(names, args, strict=False)]
        return (
            (*changed, *args[len(changed) :]),
            {key: _repeat(value, copies, rows) if key in wanted else value for key, value in kwargs.items()},
        )

    return widen


def _repeat(value: Any, copies: int, rows: int) -> Any:
    # Hidden states are repeated at the first layer only; masks come unrepeated to each, or broadcast over rows.
    if isinstance(value, Tensor) and value.shape[0] == rows:
        return value.repeat(copies, *[1] * (value.dim() - 1))
    return value
