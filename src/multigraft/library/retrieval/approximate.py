"""Keys of experts, searched for the largest inner products: all of them up to a size, from there on by short codes.

Above that size every key has, beside its numbers, a code of one bit for each of them (product quantization, Jégou,
Douze and Schmid 2011, in the layout of FAISS's fast scan). A search compares the query with all codes, a thirty-second
of the bytes, and then with the keys themselves whose codes are best. So scores are exact, and what can be missed is a
near key with a code that is worse than those of all candidates.

Keys come and go in place. How to code is learnt from a sample of the keys, always in the same way, when they outgrow
the size, and again when they have become four times as many; then all are coded anew, and the keys stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

EXACT = 65_536  # keys that are all compared with a query: 5 ms for 384 numbers each, on one core
_CANDIDATES = 128  # keys compared with a query for each that is asked for
_SCAN = 16  # all keys are compared with it when more than a sixteenth of them are candidates
_PART, _BITS = 4, 4  # numbers that are coded together, and the bits for them
_SAMPLE = 4096  # keys to learn from
_GROWTH = 4


class Keys:
    """Keys of D numbers, each with the number of its owner."""

    def __init__(self, width: int) -> None:
        import faiss

        self.width = width
        self._exact: Any = faiss.IndexIDMap(faiss.IndexFlatIP(width))
        self._codes: Any = None  # of the same keys in the same order
        self._learnt = 0  # keys that there were then

    def __len__(self) -> int:
        return int(self._exact.ntotal)

    def add(self, keys: np.ndarray, owner: int) -> None:
        """Add keys S x D, float32."""
        self._exact.add_with_ids(keys, np.full(len(keys), owner))
        if len(self) > max(EXACT, _GROWTH * self._learnt):
            self._learn()
        elif self._codes is not None:
            self._codes.add(_padded(keys))

    def remove(self, gone: Sequence[int]) -> None:
        """Take the keys of these owners out; those behind them move up, which takes as long for many as for one."""
        if self._codes is not None:
            self._codes.remove_ids(np.flatnonzero(np.isin(self.held()[1], gone)))
        self._exact.remove_ids(np.array(gone, np.int64))
        if len(self) <= EXACT:
            self._codes, self._learnt = None, 0

    def search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and owners, Q x depth, of the keys that are nearest to queries Q x D, float32, nearest first."""
        wanted = _CANDIDATES * depth
        if self._codes is None or _SCAN * wanted > len(self):
            return self._exact.search(queries, depth)
        keys, owners = self.held()
        _, places = self._codes.search(_padded(queries), wanted)
        scores = np.stack([keys[near] @ query for near, query in zip(places, queries)])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(scores, best, 1), owners[np.take_along_axis(places, best, 1)]

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """All keys and their owners, as they lie in memory: to be read, and only until keys come or go."""
        import faiss

        flat: Any = faiss.downcast_index(self._exact.index)
        keys = faiss.rev_swig_ptr(flat.get_xb(), len(self) * self.width)
        return keys.reshape(-1, self.width), faiss.rev_swig_ptr(self._exact.id_map.data(), len(self))

    def _learn(self) -> None:
        import faiss

        keys, _ = self.held()
        sample = _padded(keys[:: max(1, len(keys) // _SAMPLE)])
        width = sample.shape[1]
        self._codes = faiss.IndexPQFastScan(width, width // _PART, _BITS, faiss.METRIC_INNER_PRODUCT)
        self._codes.pq.cp.min_points_per_centroid = 1  # it would warn about small samples
        self._codes.train(sample)
        self._codes.add(_padded(keys))
        self._learnt = len(keys)


def _padded(vectors: np.ndarray) -> np.ndarray:
    """With zeros behind, so that they can be cut into parts; inner products stay the same."""
    more = -vectors.shape[1] % _PART
    return np.pad(vectors, ((0, 0), (0, more))) if more else np.ascontiguousarray(vectors)
