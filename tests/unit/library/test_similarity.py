"""Similarities of prompts against their definitions, and reading prompts from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.torch import save_file

from multigraft.errors import UserError
from multigraft.library.similarity import MEASURES, cluster, embeddings, read_prompt, similarities, similarity_matrices

ENTRIES = st.floats(-1e3, 1e3, width=32)


def prompts_of(width: int, longest: int = 5) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, longest).flatmap(lambda length: arrays(np.float64, (length, width), elements=ENTRIES))


def similarity(a: np.ndarray, b: np.ndarray, measure: str) -> float:
    return float(similarities(embeddings([a], measure), embeddings([b], measure))[0, 0])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=30)
@given(prompts_of(4), prompts_of(4))
def test_per_token_is_the_double_loop(a: np.ndarray, b: np.ndarray) -> None:
    loop = np.mean([cosine(one, other) for one in a for other in b])
    assert similarity(a, b, "per_token") == pytest.approx(loop, abs=1e-9)


def test_average_tokens_is_the_cosine_of_the_means() -> None:
    a, b = normal(7, 5), normal(3, 5, seed=1)
    assert similarity(a, b, "average_tokens") == pytest.approx(cosine(a.mean(0), b.mean(0)), abs=1e-12)


def test_by_hand() -> None:
    right, up = [1.0, 0.0], [0.0, 2.0]
    corner = np.array([right, up])
    assert similarity(corner, corner, "per_token") == pytest.approx(0.5)  # two of four pairs are the same direction
    assert similarity(corner, corner, "average_tokens") == pytest.approx(1)
    assert similarity(corner, np.array([right]), "average_tokens") == pytest.approx(1 / np.sqrt(5))
    assert similarity(corner, -corner, "per_token") == pytest.approx(-0.5)
    assert similarity(corner, -corner, "average_tokens") == pytest.approx(-1)


@pytest.mark.parametrize("measure", MEASURES)
@given(prompt=prompts_of(3))
def test_a_prompt_is_at_most_itself(measure: str, prompt: np.ndarray) -> None:
    assert -1 <= similarity(prompt, prompt, measure) <= 1


def test_self_similarity_per_token_is_below_one_unless_tokens_agree() -> None:
    prompt = normal(20, 16)
    assert 1 / 20 < similarity(prompt, prompt, "per_token") < 0.5
    same = np.outer([1.0, 5.0, 0.1], prompt[0])
    assert similarity(same, same, "per_token") == pytest.approx(1)


@pytest.mark.parametrize("measure", MEASURES)
def test_neither_order_of_tokens_nor_scale_of_a_prompt_matters(measure: str) -> None:
    a, b = normal(6, 4), normal(5, 4, seed=1)
    expected = similarity(a, b, measure)
    assert similarity(a[::-1], b, measure) == pytest.approx(expected, abs=1e-12)
    for scale in (1e-200, 1e-30, 3.0, 1e30, 1e200):
        assert similarity(scale * a, b, measure) == pytest.approx(expected, abs=1e-12)
    assert similarity(-a, b, measure) == pytest.approx(-expected, abs=1e-12)


def test_scale_of_single_tokens_matters_for_their_average_only() -> None:
    a, b = normal(6, 4), normal(5, 4, seed=1)
    scaled = a * np.array([[10.0], [1.0], [1.0], [1.0], [1.0], [1.0]])
    assert similarity(scaled, b, "per_token") == pytest.approx(similarity(a, b, "per_token"), abs=1e-12)
    assert abs(similarity(scaled, b, "average_tokens") - similarity(a, b, "average_tokens")) > 0.05


@pytest.mark.parametrize("measure", MEASURES)
def test_zeros_are_like_nothing(measure: str) -> None:
    zeros, prompt = np.zeros((3, 4)), normal(5, 4)
    assert similarity(zeros, prompt, measure) == 0
    assert similarity(zeros, zeros, measure) == 0


def test_a_zero_token_counts_as_a_token() -> None:
    prompt, other = normal(4, 3), normal(2, 3, seed=1)
    padded = np.concatenate([prompt, np.zeros((4, 3))])
    assert similarity(padded, other, "per_token") == pytest.approx(similarity(prompt, other, "per_token") / 2)


def test_tokens_that_cancel_have_no_average() -> None:
    prompt = np.array([[1.0, 2.0], [-1.0, -2.0]])
    assert similarity(prompt, prompt, "average_tokens") == 0


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int8])
def test_any_kind_of_number_is_computed_in_double(kind: type) -> None:
    a, b = (np.array(100 * normal(6, 4, seed=seed)).clip(-128, 127).astype(kind) for seed in (0, 1))
    for measure in MEASURES:
        assert similarity(a, b, measure) == similarity(a.astype(np.float64), b.astype(np.float64), measure)


def test_matrices_hold_what_pairs_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multigraft.library.similarity._AT_ONCE", 2)
    prompts = [normal(length, 6, seed=length) for length in (1, 4, 2, 9, 3)]
    for measure, matrix in similarity_matrices(prompts).items():
        pairs = [[similarity(a, b, measure) for b in prompts] for a in prompts]
        assert matrix == pytest.approx(np.array(pairs), abs=1e-12)


def test_prompts_may_come_one_at_a_time_and_results_go_to_a_file(tmp_path: Path) -> None:
    prompts = normal(7, 3, 4).astype(np.float32)
    np.save(tmp_path / "prompts.npy", prompts)
    mapped = np.load(tmp_path / "prompts.npy", mmap_mode="r")
    vectors = embeddings((prompt for prompt in mapped), "per_token")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(7, 7))
    assert similarities(vectors, out=out) is out
    assert np.load(tmp_path / "out.npy") == pytest.approx(similarities(embeddings(prompts, "per_token")), abs=1e-6)


def test_prompts_of_two_widths_do_not_compare() -> None:
    with pytest.raises(ValueError, match="shape"):
        embeddings([normal(3, 4), normal(3, 5)], "per_token")


def test_clusters_stand_side_by_side() -> None:
    # Two clusters of three, given in turn; average linkage joins the clusters last, at the mean of the distances.
    similarity = np.full((6, 6), 0.1)
    for members in ([0, 2, 4], [1, 3, 5]):
        similarity[np.ix_(members, members)] = 0.9
    similarity[0, 1] = similarity[1, 0] = 0.4
    found = cluster(similarity)
    assert sorted(found.order) == list(range(6))
    assert {frozenset(found.order[:3]), frozenset(found.order[3:])} == {frozenset({0, 2, 4}), frozenset({1, 3, 5})}
    assert found.merges[-1, 2] == pytest.approx(1 - (8 * 0.1 + 0.4) / 9)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_tasks_have_an_order_too(count: int) -> None:
    assert sorted(cluster(np.ones((count, count))).order) == list(range(count))


def test_prompts_are_read_from_files(tmp_path: Path) -> None:
    prompt = normal(3, 4).astype(np.float32)
    np.save(tmp_path / "a.npy", np.asfortranarray(prompt))
    save_file({"prompt": torch.from_numpy(prompt), "other": torch.zeros(2)}, tmp_path / "b.safetensors")
    save_file({"prompt": torch.from_numpy(prompt).bfloat16()}, tmp_path / "c.safetensors")
    assert np.array_equal(read_prompt(tmp_path / "a.npy"), prompt)
    assert np.array_equal(read_prompt(tmp_path / "b.safetensors"), prompt)
    assert read_prompt(tmp_path / "c.safetensors") == pytest.approx(prompt, rel=0.01)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "expected an array of tokens x width, got 3"),
        (np.zeros((2, 3, 4)), "got 2 x 3 x 4"),
        (np.float64(1), "got a single value"),
        (np.array([[1, np.nan]]), "holds NaN or infinity"),
        (np.array([["a"]]), "expected real numbers, got <U1"),
        (np.array([[1j]]), "expected real numbers, got complex128"),
        (np.array([[None]]), "not an array as numpy saves it"),
        (np.zeros((0, 3)), "got 0 x 3"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=message) as caught:
        read_prompt(tmp_path / "a.npy")
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    np.savez(tmp_path / "several.npz", a=np.zeros((2, 2)))
    for name, message in (
        ("none.npy", "cannot be read: No such file"),
        ("none.safetensors", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("several.npz", "not an array as numpy saves it"),
        ("broken.safetensors", "not a safetensors file"),
        ("other.safetensors", "has no tensor 'prompt'; its tensors: other"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            read_prompt(tmp_path / name)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8',"]))
def test_any_bytes_are_a_user_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    for suffix in (".npy", ".safetensors"):
        path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
        path.write_bytes(start + data)
        with pytest.raises(UserError):
            read_prompt(path)


@settings(max_examples=30)
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=ENTRIES))
def test_what_numpy_saves_is_read_again(tmp_path_factory: pytest.TempPathFactory, prompt: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.npy"
    np.save(path, prompt)
    assert np.array_equal(read_prompt(path), prompt)
