"""What predictors of transfer and selectors of experts share: they read arrays that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from multigraft.errors import UserError


class Described(Protocol):
    """A task, target or expert of which arrays are known."""

    @property
    def name(self) -> str: ...

    @property
    def called(self) -> str:
        """What messages call it."""


class Reads:
    """Looks at arrays before they are used. `name` is that of the part, `kind` what it is one of."""

    name: ClassVar[str]
    kind: ClassVar[str]

    def array(self, known: Described, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
        """The array `what` of something. Raises UserError when it is missing, not finite, or not of `shape`."""
        value = getattr(known, what)
        if value is None:
            raise self.fault(f"{known.called} comes without {what}")
        return self.checked(value, f"{what} of {known.called}", shape)

    def under(self, known: Described, source: Described, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
        """The value of `what` of something under a source, with the same checks."""
        by_source = getattr(known, what)
        if source.name not in by_source:
            raise self.fault(f"{known.called} comes without {what} under {source.name!r}")
        return self.checked(by_source[source.name], f"{what} of {known.called} under {source.name!r}", shape)

    def checked(self, value: Any, what: str, shape: Sequence[int] | None) -> np.ndarray:
        """`value` as an array; -1 in `shape` stands for any number of entries."""
        array = np.asarray(value)
        fits = shape is None or (len(shape) == array.ndim and all(w in (-1, h) for w, h in zip(shape, array.shape)))
        if array.size == 0 or not fits:
            wanted = "" if shape is None else f", expected {_words(shape)}"
            raise self.fault(f"{what} has shape {_words(array.shape)}{wanted}")
        if not np.isfinite(array).all():
            raise self.fault(f"{what} holds NaN or infinity")
        return array

    def fault(self, what: str) -> UserError:
        """The error of this part."""
        return UserError(what, where=f"{self.kind} {self.name}")


def _words(shape: Sequence[int]) -> str:
    return " x ".join("any" if length < 0 else str(length) for length in shape) or "of a single number"
