"""States kept between epochs change nothing but the time of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.batching.text import encode_text
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.text_model import TextModel
from multigraft.training import kept, loop
from multigraft.training.kept import KeptStates, keep_states
from multigraft.training.objective import HeadObjective, TextObjective

Make = Callable[..., Any]
UPPER = {"name": "lora", "layers": [1, 2]}
LONG = {"steps": 12, "epochs": 3, "batches": "parallel", "batch_size": 24}  # every row comes twice
CPU = torch.device("cpu")


@contextmanager
def without_kept_states() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "keep_states", lambda *_: None)
        yield


def frozen(method: object = UPPER, **more: Any) -> dict[str, Any]:
    return {"method": method, "tuned": False, **more}


def assert_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[KeptStates | None]:
    """What the runs of a test keep."""
    found: list[KeptStates | None] = []

    def keep(*args: Any) -> KeptStates | None:
        found.append(keep_states(*args))
        return found[-1]

    monkeypatch.setattr(loop, "keep_states", keep)
    return found


def losses(run: Any) -> Tensor:
    """Loss of some rows of every task after training.

    Not all weights are compared: what no loss depends on, as the bias of a head that scores each option for itself,
    has a gradient of rounding errors, which AdamW takes for large steps.
    """
    objective = HeadObjective([run.rows[name] for name in run.model.names], run.model.backbone.pad_id)
    tasks, rows = np.repeat(np.arange(len(run.model.names)), 10), np.tile(np.arange(10), len(run.model.names))
    batch = objective.collate(tasks, rows)
    with torch.no_grad():
        return objective.losses(run.model.eval()(batch), batch)


METHODS: dict[str, Any] = {
    "lora": UPPER,
    "lora with dropout": {**UPPER, "dropout": 0.3},
    "pal": {"name": "pal", "layers": [2]},
    "top_layer": "top_layer",
    "heads_only": "heads_only",
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])  # a frozen backbone runs without, whatever its own is
def test_a_run_ends_as_without_them(
    make_run: Make, made: list[KeptStates | None], method: object, dropout: float
) -> None:
    run, plain, fresh = (make_run(place, model=frozen(method, dropout=dropout), **LONG) for place in "abc")
    run.go()
    with without_kept_states():
        plain.go()
    assert made[0] is not None
    assert len(made) == 1
    torch.testing.assert_close(losses(run), losses(plain), rtol=1e-4, atol=1e-5)
    curves = [torch.tensor(one.monitor.curve()["train_loss"]) for one in (run, plain)]
    torch.testing.assert_close(*curves, rtol=1e-4, atol=1e-5)
    assert (losses(run) - losses(fresh)).abs().max() > 0.1  # it learned something
    assert run.ledger.state() == plain.ledger.state()


def test_weights_end_as_without_them(make_run: Make, made: list[KeptStates | None]) -> None:
    model = frozen({**UPPER, "maps": ["q", "v", "o", "up", "down"]}, names=("feeling", "amount"))
    run, plain = (make_run(place, model=model, **LONG) for place in "ab")
    run.go()
    with without_kept_states():
        plain.go()
    assert made[0] is not None
    assert_close(run.tensors(), plain.tensors())


def test_every_expert_is_what_it_is_alone(make_run: Make, made: list[KeptStates | None]) -> None:
    together = make_run("together", model=frozen(), **LONG)
    together.go()
    alone = [make_run(name, model=frozen(names=(name,)), **LONG) for name in together.model.names]
    for run in alone:
        run.go()
    torch.testing.assert_close(torch.cat([losses(run) for run in alone]), losses(together), rtol=1e-4, atol=1e-5)
    assert None not in made


@pytest.mark.parametrize("stop", [4, 7])
def test_a_run_that_was_stopped_ends_as_if_it_had_not(make_run: Make, assert_same: Make, stop: int) -> None:
    settings = {"model": frozen(), **LONG}
    whole = make_run("whole", **settings)
    whole.go()
    with pytest.raises(KeyboardInterrupt):
        make_run("part", stop_after=stop, **settings).go()
    rest = make_run("part", **settings)
    rest.go()
    assert_same(rest.tensors(), whole.tensors())


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (frozen({"name": "lora", "layers": [0, 2]}), {}),
        (frozen({"name": "soft_prompt", "length": 3}), {}),
        ({"method": UPPER, "tuned": True}, {}),
        (frozen(), {"steps": 3}),
    ],
    ids=["in the first layer", "before it", "tuned", "too few steps"],
)
def test_nothing_is_kept_where_nothing_is_won(
    make_run: Make, made: list[KeptStates | None], model: dict[str, Any], settings: dict[str, Any]
) -> None:
    make_run(model=model, **{**LONG, **settings}).go()
    assert made == [None]


def test_nothing_is_kept_when_the_run_is_over(make_run: Make, made: list[KeptStates | None]) -> None:
    for _ in range(2):
        make_run(model=frozen(), **LONG).go()
    assert [states is None for states in made] == [False, True]


def test_short_of_memory_they_are_in_a_file_that_leaves_nothing_behind(
    make_run: Make, made: list[KeptStates | None], assert_same: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[str] = []
    from_file = torch.from_file
    monkeypatch.setattr(torch, "from_file", lambda path, **more: (files.append(path), from_file(path, **more))[1])
    first, second, third = (make_run(place, model=frozen(), **LONG) for place in ("memory", "file", "nowhere"))
    first.go()
    assert files == []
    monkeypatch.setattr(kept, "MEMORY_SHARE", 0.0)
    second.go()
    assert files == [str(second.folder / "states")]
    assert {path.name for path in second.folder.iterdir()} == {path.name for path in first.folder.iterdir()}
    assert_same(second.tensors(), first.tensors())
    monkeypatch.setattr(kept, "DISK_SHARE", 0.0)
    third.go()
    torch.testing.assert_close(losses(third), losses(first), rtol=1e-4, atol=1e-5)
    assert [states is None for states in made] == [False, False, True]


def test_a_full_disk_keeps_nothing(
    make_run: Make, made: list[KeptStates | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(kept.os, "posix_fallocate", full)
    run = make_run(model=frozen(), **LONG)
    run.go()
    assert made == [None]
    assert not (run.folder / "states").exists()


def test_every_row_runs_once_for_all_experts(make_run: Make, rows: Mapping[str, Any]) -> None:
    run = make_run(model=frozen(), **LONG)
    run.rows = dict.fromkeys(run.model.names, rows["feeling"])  # three experts on the same rows
    tokens: list[int] = []
    norm = run.model.backbone.layer(0).attention.output
    run.model.bank._handles.append(
        norm.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[0]))  # sequences
    )
    run.go()
    assert sum(tokens) == len(rows["feeling"]) + 2  # and one row twice, to see what a layer is like


def text_parts(family: str, layers: object, packing: int | None) -> tuple[TextModel, TextObjective]:
    backbone = tiny_text_backbone(family)
    form = backbone.text_format(30, 8)
    texts = ["a cat is big", "the dog", "red blue 1 2 3", "who", "one two more"]
    answers = ["good", "bad one", "no", "why where one", "x y z"]
    data = encode_text(list(zip(texts, answers, strict=True)), backbone.tokenizer, form)
    bank = Bank(parse_method({"name": "lora", "layers": layers}), backbone, ["a", "b"])
    with torch.no_grad():
        bank.stack.values.normal_(std=0.3)
    objective = TextObjective([data, data], form, weighting="token", packing=packing, together=False)
    return TextModel(backbone, bank, tuned=False).train(), objective


class _Sampler:
    """So many rows in one step that is still to come."""

    step = 0

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def planned(self) -> np.ndarray:
        return np.array([[float(self.rows)]])


@pytest.mark.parametrize("packing", [None, 24])
@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("t5", "decoder"),
        ("encoder-decoder", "final_half"),
        ("encoder-decoder", [1, 2]),
        ("llama", [1, 2]),
        ("gpt2", [2]),
    ],
)
def test_texts_are_learned_as_without_them(tmp_path: Path, family: str, layers: object, packing: int | None) -> None:
    model, objective = text_parts(family, layers, packing)
    states = keep_states(model, objective, _Sampler(100), "fp32", CPU, tmp_path)  # type: ignore[arg-type]
    assert states is not None
    tasks, rows = np.array([1, 0, 1, 0, 0, 1]), np.array([4, 2, 0, 1, 2, 3])
    batch = objective.collate(tasks, rows)
    assert batch.packed is (packing is not None)
    wanted = model(batch)
    wanted.sum().backward()
    gradient = model.bank.stack.values.grad.clone()  # type: ignore[union-attr]
    model.bank.stack.values.grad = None
    with states.known(tasks, rows, batch):
        found = model(batch)
    found.sum().backward()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bank.stack.values.grad, gradient, rtol=1e-3, atol=1e-4)
    assert gradient.abs().max() > 0.1


def test_the_layers_of_t5_are_not_parted(tmp_path: Path) -> None:
    model, objective = text_parts("t5", [1], None)
    assert keep_states(model, objective, _Sampler(100), "fp32", CPU, tmp_path) is None  # type: ignore[arg-type]
