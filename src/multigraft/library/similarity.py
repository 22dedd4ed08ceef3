"""How alike tasks are, by their prompts (arXiv 2110.07904, section 4.1), and an order that puts like beside like.

Both similarities are dot products of one vector per prompt, so N prompts cost one pass over their tokens and one
matrix product, whatever their lengths. A vector of zeros has no direction: its cosine with anything, itself
included, counts as 0.
"""

from __future__ import annotations

import tokenize
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from multigraft.errors import UserError

TENSOR = "prompt"  # name of the P x D tensor in a safetensors file
_AT_ONCE = 512  # rows of a similarity matrix computed at a time


def direction(vectors: np.ndarray) -> np.ndarray:
    """Each vector of (..., D) at length 1, in float64; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float64)
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    # Divided by its largest entry first, a vector's squares neither overflow nor vanish.
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    lengths = np.sqrt(np.einsum("...d,...d->...", scaled, scaled))[..., None]
    return np.divide(scaled, lengths, out=scaled, where=lengths > 0)


def average_direction(tokens: np.ndarray) -> np.ndarray:
    """Direction of the mean of the tokens P x D: (D,). Two of them multiply to the cosine of average tokens."""
    tokens = np.asarray(tokens, np.float64)
    return direction((tokens / (np.abs(tokens).max() or 1.0)).mean(axis=0))


def mean_direction(tokens: np.ndarray) -> np.ndarray:
    """Mean of the directions of the tokens P x D: (D,). Two of them multiply to the per-token average cosine."""
    return direction(tokens).mean(axis=0)


# What a prompt P x D becomes, (D,), so that similarity is a dot product.
MEASURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "average_tokens": average_direction,
    "per_token": mean_direction,
}


def embeddings(prompts: Iterable[np.ndarray], measure: str) -> np.ndarray:
    """The vectors of N prompts, N x D: their dot products are the similarities by `measure`, a key of `MEASURES`.

    Prompts are arrays P x D, of lengths of their own, and are taken one at a time: rows of a memory-mapped array
    N x P x D, or a generator, need the memory of one. Raises ValueError when widths differ or there is no prompt.
    """
    return np.stack([MEASURES[measure](prompt) for prompt in prompts])


def similarities(vectors: np.ndarray, others: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Dot products of `embeddings` N x D with others M x D, or with one another: N x M, in [-1, 1].

    `out` takes the result where it is given, an array of any floating type, memory-mapped too: it is computed in
    that type, some hundred rows at a time. float32 halves time and memory, and keeps six digits.
    """
    others = vectors if others is None else others
    out = np.empty((len(vectors), len(others))) if out is None else out
    vectors, others = vectors.astype(out.dtype, copy=False), others.astype(out.dtype, copy=False)
    for start in range(0, len(vectors), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        np.clip(vectors[rows] @ others.T, -1, 1, out=out[rows])
    return out


def similarity_matrices(prompts: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """The similarities of N prompts with one another by every measure, N x N."""
    prompts = list(prompts)
    return {measure: similarities(embeddings(prompts, measure)) for measure in MEASURES}


class Clustering(NamedTuple):
    """Hierarchical clustering of N tasks."""

    order: list[int]  # of the N tasks along a heat map: members of a cluster stand side by side
    merges: np.ndarray  # (N - 1) x 4 as scipy.cluster.hierarchy.linkage gives it, for a dendrogram

    def groups(self, count: int) -> np.ndarray:
        """The dendrogram cut into `count` groups, or fewer where merges are at one height: (N,), numbers from 0."""
        if not len(self.merges):
            return np.zeros(len(self.order), np.int64)
        return fcluster(self.merges, count, "maxclust").astype(np.int64) - 1


def cluster(similarity: np.ndarray) -> Clustering:
    """Average linkage over the distances 1 - similarity, N x N (arXiv 2110.07904, figure 4)."""
    if len(similarity) < 2:
        return Clustering(list(range(len(similarity))), np.empty((0, 4)))
    distances = 1 - (similarity + similarity.T) / 2  # products in blocks are symmetric but for rounding
    np.fill_diagonal(distances, 0)
    merges = linkage(squareform(distances, checks=False), method="average")
    return Clustering(leaves_list(merges).tolist(), merges)


def read_prompt(path: Path) -> np.ndarray:
    """The prompt P x D in a .npy file, memory-mapped, or as the tensor `prompt` of a .safetensors file.

    Raises UserError when it cannot be read, is no such array, or holds anything but numbers.
    """
    prompt = _read_safetensors(path) if path.suffix == ".safetensors" else _read_npy(path)
    if prompt.ndim != 2 or 0 in prompt.shape:
        shape = " x ".join(map(str, prompt.shape)) or "a single value"
        raise UserError(f"expected an array of tokens x width, got {shape}", where=path)
    if not np.isfinite(prompt).all():
        raise UserError("holds NaN or infinity", where=path)
    return prompt


def _read_npy(path: Path) -> np.ndarray:
    # What numpy raises for a header that is no header.
    broken = (ValueError, TypeError, EOFError, SyntaxError, OverflowError, MemoryError, tokenize.TokenError)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=path) from None
    except broken:
        raise UserError("not an array as numpy saves it", where=path, fix="write it with numpy.save") from None
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"expected real numbers, got {array.dtype}", where=path)
    return array


def _read_safetensors(path: Path) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:  # numpy itself knows no bfloat16
            if TENSOR not in file.keys():  # noqa: SIM118 - the file cannot be iterated
                known = ", ".join(sorted(file.keys())) or "none"
                raise UserError(f"has no tensor {TENSOR!r}", where=path, fix=f"its tensors: {known}")
            tensor = file.get_tensor(TENSOR)
            return np.asarray(tensor.double().numpy())
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=path) from None
    except SafetensorError as error:
        raise UserError(f"not a safetensors file: {' '.join(str(error).split())}", where=path) from None
