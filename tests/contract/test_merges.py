"""What every merge keeps to, found by itself: copies, order, weights, inputs, blocks, files, types and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.merging import base as merging
from multigraft.library.merging.base import MERGES, Held, Merge, merged_tensor, parse_merge
from multigraft.library.merging.models import Mixture, merge_files, mix

NAMES = MERGES.names()
SHAPES = {"layer.weight": (12, 9), "layer.bias": (12,), "scale": (), "none": (0, 3)}
# Settings under which a merge changes nothing of a single model.
PLAIN = {"keep": 1.0, "drop": 0.0, "scale": 1.0}

Tensors = dict[str, Tensor]


@dataclass
class Case:
    """One merge and N models with what it needs."""

    merge: Merge
    models: list[Tensors]
    base: Tensors | None  # None: the models are differences already
    weights: list[float] | None
    statistics: list[Tensors] | None
    score: Callable[[Sequence[float]], float] | None

    def mixture(self, order: Sequence[int] | None = None, models: list[Tensors] | None = None) -> Mixture:
        """The models, in an order, with what belongs to them."""
        models = models or self.models
        order = order or range(len(models))
        score, weights, statistics = self.score, self.weights, self.statistics
        return mix(
            self.merge,
            [held(models[i]) for i in order],
            [f"model {i}" for i in order],
            base=None if self.base is None else held(self.base),
            differences=self.base is None,
            weights=None if weights is None else [weights[i] for i in order],
            statistics=None if statistics is None else [held(statistics[i]) for i in order],
            score=None
            if score is None
            else lambda given: score([given[list(order).index(i)] for i in range(len(order))]),
        )

    def run(self, order: Sequence[int] | None = None, models: list[Tensors] | None = None) -> Tensors:
        """The merged tensors."""
        return tensors_of(self.mixture(order, models))


def tensors_of(mixture: Mixture) -> Tensors:
    return {
        name: torch.cat([*mixture.pieces(name), torch.empty(0, dtype=kind)]).view(shape)
        for name, (kind, shape) in mixture.kinds().items()
    }


def held(tensors: Tensors) -> dict[str, Held]:
    return {name: Held(tensor) for name, tensor in tensors.items()}


def draw(seed: int, dtype: torch.dtype = torch.float32) -> Tensors:
    """A model: numbers of every shape, and positions that are the same in all."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    return drawn | {"positions": torch.arange(5)}


def make_case(name: str, dtype: torch.dtype = torch.float32, **settings: object) -> Case:
    known = MERGES.get(name).model_fields
    merge = parse_merge(name, {key: value for key, value in settings.items() if key in known})
    count = merge.exactly or 3
    wanted = merge.needs | merge.takes
    rng = np.random.default_rng(0)
    goal = rng.uniform(-1, 1, count)
    return Case(
        merge,
        [draw(seed, dtype) for seed in range(count)],
        draw(99, dtype),
        rng.uniform(0.2, 1, count).tolist() if "weights" in wanted else None,
        [statistics(name, seed) for seed in range(count)] if "statistics" in wanted else None,
        (lambda weights: -float(np.square(np.asarray(weights) - goal).sum())) if "score" in wanted else None,
    )


def statistics(name: str, seed: int) -> Tensors:
    """Fisher information of every tensor; or the Gram matrix of the one map."""
    if name == "regmean":
        inputs = torch.randn(20, SHAPES["layer.weight"][1], generator=torch.Generator().manual_seed(seed))
        return {"layer.weight": inputs.T @ inputs}
    return {key: tensor.square() for key, tensor in draw(seed + 50).items() if key in SHAPES}


def assert_close(found: Tensors, expected: Tensors, tolerance: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that divide no tensor evenly."""
    monkeypatch.setattr(merging, "BLOCK", 25)


def test_all_are_found() -> None:
    assert NAMES == ["dare", "fisher", "lorahub", "regmean", "slerp", "soup", "task_arithmetic", "ties", "uniform",
                     "weighted"]  # fmt: skip
    assert all(MERGES.get(name).paper and MERGES.get(name).__doc__ for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_one_model_give_it(name: str) -> None:
    case = make_case(name)
    found = case.run(models=[case.models[0]] * len(case.models))
    if case.merge.idempotent:
        assert_close(found, case.models[0])
    else:
        assert not torch.allclose(found["layer.weight"], case.models[0]["layer.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_matters_only_where_it_must(name: str) -> None:
    case = make_case(name, t=0.3)
    found, turned = case.run(), case.run(range(len(case.models))[::-1])
    if case.merge.symmetric:
        assert_close(turned, found)
    else:
        assert not torch.equal(turned["layer.weight"], found["layer.weight"])


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "weights" in MERGES.get(name).needs | MERGES.get(name).takes]
)
def test_all_weight_on_the_first_gives_the_first(name: str) -> None:
    case = make_case(name, **PLAIN)
    case.weights = [1.0, *[0.0] * (len(case.models) - 1)]
    assert_close(case.run(), case.models[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("based", [True, False], ids=["base", "differences"])
def test_inputs_are_untouched_and_results_repeat(name: str, based: bool) -> None:
    case = make_case(name)
    every = [*case.models, draw(99), *(case.statistics or [])]
    case.base = every[len(case.models)] if based else None
    before = [{key: tensor.clone() for key, tensor in each.items()} for each in every]
    first, second = case.run(), case.run()
    assert_close(first, second, 0)
    for each, was in zip(every, before, strict=True):
        assert_close(each, was, 0)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(name)
    found = case.run()
    monkeypatch.setattr(merging, "BLOCK", 10**6)
    assert_close(case.run(), found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_files_give_what_memory_gives(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    case = make_case(name, dtype)
    paths = {kind: [tmp_path / f"{kind}{i}.safetensors" for i in range(len(case.models))] for kind in "ms"}
    for path, model in zip(paths["m"], case.models, strict=True):
        save_file(model, path)
    for path, each in zip(paths["s"], case.statistics or [], strict=False):
        save_file(each, path)
    save_file(draw(99, dtype), tmp_path / "base.safetensors")
    merge_files(
        case.merge, paths["m"], tmp_path / "out.safetensors", base=tmp_path / "base.safetensors",
        weights=case.weights, statistics=paths["s"] if case.statistics else None, score=case.score,
    )  # fmt: skip
    found = load_file(tmp_path / "out.safetensors")
    assert_close(found, case.run(), 0)
    assert {name: tensor.dtype for name, tensor in found.items()} == dict.fromkeys(SHAPES, dtype) | {
        "positions": torch.int64
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_type_holds_all_values(name: str) -> None:
    case = make_case(name)
    half = [cast(each, torch.float16) for each in case.models]
    exact = case.run(models=[cast(each, torch.float64) for each in case.models])
    assert exact["layer.weight"].dtype == torch.float64
    assert case.run(models=[half[0], *case.models[1:]])["layer.weight"].dtype == torch.float32
    assert_close(case.run(models=half), cast(case.run(), torch.float16), 0.02)


def cast(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {key: tensor.to(dtype) if key in SHAPES else tensor for key, tensor in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_differences_to_a_base_are_merged(name: str) -> None:
    case = make_case(name)
    assert case.base is not None
    mixture = case.mixture()
    for key in SHAPES:
        with_base = mixture.tensors(key)
        differences = tuple(Held(model[key] - case.base[key]) for model in case.models)
        alone = merging.Tensors(key, differences, with_base.weights, None, with_base.statistics)
        expected = merged_tensor(case.merge, alone) + case.base[key]
        torch.testing.assert_close(merged_tensor(case.merge, with_base), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_or_useless_is_said(name: str) -> None:
    merge = make_case(name).merge
    count = merge.exactly or 3
    everything = {"weights": [1.0] * count, "base": True, "statistics": count, "score": True}
    nothing = {"weights": None, "base": False, "statistics": None, "score": False}
    for what in everything:
        if what in merge.needs:
            wanted = {key: everything[key] if key in merge.needs else nothing[key] for key in everything}
            merge.check(count, **wanted)  # type: ignore[arg-type]
            with pytest.raises(UserError, match=f"{name}: needs"):
                merge.check(count, **wanted | {what: nothing[what]})  # type: ignore[arg-type]
        elif what not in merge.takes and what != "base":
            needed = {key: everything[key] if key in merge.needs else nothing[key] for key in everything}
            with pytest.raises(UserError, match=f"{name}: has no use for"):
                merge.check(count, **needed | {what: everything[what]})  # type: ignore[arg-type]
    for wrong in (1, 0, 3 if merge.exactly else 1):
        with pytest.raises(UserError, match=f"{name}: merges"):
            merge.check(wrong, **everything)  # type: ignore[arg-type]
