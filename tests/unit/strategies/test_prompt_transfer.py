"""Soft prompt transfer: where prompts start, what is chosen and kept, and that nothing is trained twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.errors import UserError
from multigraft.evaluation.transfer_matrix import read_matrix, read_predicted
from multigraft.library.store import Library
from multigraft.library.transfer import average_weights
from multigraft.settings import build
from multigraft.strategies import experts, prompts
from multigraft.strategies.cards import parcels
from multigraft.strategies.compare import compare
from multigraft.strategies.comparison import on_backbones
from multigraft.strategies.experts import Trained
from multigraft.strategies.prompt_library import stored_prompts
from multigraft.strategies.prompt_recipe import ComparePrompts, PromptRecipe
from multigraft.strategies.prompt_runs import how_alike, own_prompts, train_matrix, transfer_to
from multigraft.strategies.prompt_transfer import PromptTransfer
from multigraft.strategies.results import Results
from multigraft.strategies.runs import RunResult, answers_of

MakeRecipe = Callable[..., Any]
NAMES = ("first", "second", "third")


@pytest.fixture
def make(word_suite: str, backbone_folder: Callable[..., str]) -> MakeRecipe:
    def made(family: str = "bert", kind: type = PromptRecipe, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "suite": word_suite, "backbone": {"name": backbone_folder(family)}, "dev_examples": 6,
            "method": {"name": "soft_prompt", "length": 3}, "text": {"max_input": 30, "max_target": 8},
            "targets": ["first"],
            "training": {"steps": 8, "epochs": 2, "batch_size": 4, "precision": "fp32", "checkpoint_seconds": 0,
                         "module_learning_rate": 0.01, "max_length": 20},
        }  # fmt: skip
        return build(kind, values | changes, "recipe")

    return made


def go(recipe: PromptRecipe, folder: Path) -> RunResult:
    return PromptTransfer(folder).run(recipe, folder / "run" / recipe.key(), quiet=True)


def started(folder: Path, name: str) -> Trained:
    """The target's prompt that a run started from `name`."""
    [found] = folder.glob(f"experts/*/seed-0/from/first/{name}")
    return experts.finished_expert(found)  # type: ignore[return-value]


ROWS: list[dict[str, Any]] = [
    {},
    {"transfer": {"source": "second"}},
    {"transfer": {"source": "mixture"}},
    {"transfer": {"by": "average_tokens", "k": 2}},
    {"transfer": {"by": "per_token", "use": "average", "k": 2}},
    {"transfer": {"by": "loss", "use": "mixture"}},
    {"transfer": {"by": "size", "use": "halving", "k": 2}},
    {"tune": "model"},
    {"tune": "model", "multitask": True},
]


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_every_way_is_compared_on_equal_terms(make: MakeRecipe, tmp_path: Path, family: str) -> None:
    rows = ROWS + ([{"transfer": {"source": "text"}}] if family == "t5" else [])
    results = compare(make(family, ComparePrompts, rows=rows), tmp_path, quiet=True)
    assert [row.label for row in results.rows][:3] == [
        "prompt tuning (length 3)",
        "from second",
        "from the mixture of all sources",
    ]
    assert {row.strategy for row in results.rows} == {"prompt", "transfer", "separate", "shared"}
    assert [task.name for task in results.tasks] == ["first"]
    again = compare(make(family, ComparePrompts, rows=rows), tmp_path, quiet=True)
    assert again == Results.model_validate_json((tmp_path / "results.json").read_bytes())


def test_what_is_spent_is_told(make: MakeRecipe, tmp_path: Path) -> None:
    results = compare(make(kind=ComparePrompts, rows=ROWS), tmp_path, quiet=True)
    runs = {row.label: tmp_path / "runs" / row.id / "seed-0" for row in results.rows}
    steps = {
        label: experts.answers_of and (folder / "result/result.json").read_text() for label, folder in runs.items()
    }
    spent = {label: RunResult.model_validate_json(text).steps for label, text in steps.items()}
    assert list(spent.values()) == [8, 16, 16, 40, 32, 40, 24 + 2 + 2 + 4, 8, 16]
    row = {row.label: row for row in results.rows}
    prompt = row["prompt tuning (length 3)"]
    assert prompt.trained_parameters < row["model tuning"].trained_parameters
    assert prompt.parameters == row["from second"].parameters


def test_a_prompt_starts_from_the_best_of_its_source(make: MakeRecipe, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    plain = experts.train

    def watched(model: Any, *rest: Any) -> Any:
        seen[",".join(sorted(model.names))] = {name: model.bank.stack.expert(name) for name in model.names}
        return plain(model, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experts, "train", watched)
        go(make(transfer={"source": "second"}), tmp_path)
    [own] = tmp_path.glob("experts/*/seed-0/own/second")
    source = experts.finished_expert(own)
    assert source is not None
    assert list(seen) == ["second", "first/second"]
    assert torch.equal(seen["first/second"]["first/second"]["prompt"], source.module()["prompt"])
    assert started(tmp_path, "second").outcome.parents == ("second",)


def test_the_best_of_the_top_is_chosen_on_rows_that_are_not_scored(make: MakeRecipe, tmp_path: Path) -> None:
    recipe = make(transfer={"by": "average_tokens", "k": 2})
    go(recipe, tmp_path)
    runs = [started(tmp_path, name) for name in ("second", "third")]
    best = max(runs, key=lambda one: one.outcome.dev)
    chosen = answers_of(tmp_path / "run" / recipe.key())["first"]
    assert np.array_equal(chosen.answers, best.answers().answers)


def test_an_average_is_weighted_by_similarity(
    make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts.Prompts, "ranking", lambda *_: {"second": 0.6, "third": 0.2})
    kept: dict[str, Any] = {}
    plain = prompts.Prompts._from
    monkeypatch.setattr(prompts.Prompts, "_from", lambda self, *args: kept.update(args[1]) or plain(self, *args))  # type: ignore[func-returns-value]
    go(make(transfer={"by": "per_token", "use": "average", "k": 2}), tmp_path)
    [start] = kept.values()
    own = {name: experts.finished_expert(next(tmp_path.glob(f"experts/*/seed-0/own/{name}"))) for name in NAMES[1:]}
    wanted = sum(
        w * own[name].module()["prompt"] for name, w in average_weights({"second": 0.6, "third": 0.2}, 2).items()
    )  # type: ignore[union-attr,misc]
    torch.testing.assert_close(start["prompt"], wanted)


def test_rows_share_what_they_have_in_common(make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(make(transfer={"by": "average_tokens", "k": 2}), tmp_path)
    monkeypatch.setattr(experts, "train", lambda *_: pytest.fail("trained again"))
    for row in ({}, {"transfer": {"source": "third"}}, {"transfer": {"by": "per_token"}}):
        go(make(**row), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transfer": {"source": "secnd"}}, "unknown source 'secnd'.*did you mean 'second'"),
        ({"transfer": {"by": "per_token", "k": 3}}, "k is 3, there are 2 sources"),
        ({"transfer": {"source": "text"}}, "writes no text"),
        ({"transfer": {"by": "per_tken"}}, "did you mean 'per_token'"),
        ({"transfer": {"by": "per_token", "source": "second"}}, "either 'source' or 'by'"),
        ({"transfer": {"source": "second", "k": 2}}, "for a ranking"),
        ({"transfer": {"source": "second"}, "method": "lora"}, "only a soft_prompt"),
        ({"multitask": True}, "tune: model"),
        (
            {
                "transfer": {"by": "size", "use": "halving", "k": None},
                "sources": ["second", "third"],
                "training": {"steps": 3, "max_length": 20},
            },
            "3 steps are too few",
        ),
        ({"targets": ["fist"]}, "unknown task 'fist'.*did you mean 'first'"),
        ({"method": {"name": "soft_prompt", "length": 5000}}, "5000"),
    ],
)
def test_bad_recipes_are_refused_before_training(
    make: MakeRecipe, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        PromptTransfer(tmp_path).check(make(**changes))
    assert not list(tmp_path.iterdir())


def test_a_matrix_has_every_cell_and_predictions(make: MakeRecipe, tmp_path: Path) -> None:
    names = ("average_tokens", "size", "loss")
    found = train_matrix(make(), (0, 1), names, tmp_path, announce=lambda line: None, quiet=True)
    paths = found.write(tmp_path)
    matrix = read_matrix(paths[0])
    assert (matrix.sources, matrix.targets, matrix.scores.shape) == (("second", "third"), ("first",), (2, 2, 1))
    np.testing.assert_allclose(matrix.none, found.matrix.none, atol=1e-3)
    assert [path.name for path in paths[1:]] == [f"predicted_{n}.csv" for n in (*names, "first_dev", "best_dev")]
    for path in paths[1:]:
        assert read_predicted(path, matrix).shape == (2, 1)
    assert (found.predicted["best_dev"] >= found.predicted["first_dev"]).all()
    with pytest.raises(UserError, match="'first' is source and target"):
        train_matrix(make(sources=["first"]), (0,), [], tmp_path, announce=print, quiet=True)


def test_prompts_go_into_a_library_and_start_a_target_from_there(make: MakeRecipe, tmp_path: Path) -> None:
    recipe = make(sources=["second", "third"])
    asked, own = own_prompts(recipe, tmp_path / "map", quiet=True)
    assert {name: matrix.shape for name, matrix in how_alike(own).items()} == {
        "average_tokens": (2, 2),
        "per_token": (2, 2),
    }
    library = Library.create(tmp_path / "library")
    for parcel in parcels(asked, own):
        library.add(*parcel)
    stored = stored_prompts(library, asked)
    for name, one in stored.items():
        assert torch.equal(one.module()["prompt"], own[name].module()["prompt"])
        assert torch.equal(one.early()["prompt"], own[name].early()["prompt"])
        assert one.expert.card.embedding_step == own[name].outcome.early_step
    for number, (use, k) in enumerate((("best_of", 2), ("average", 2), ("mixture", 1), ("auto", 1))):
        steps = {**recipe.training.model_dump(), "steps": 12}
        answer = transfer_to(
            make(training=steps), "first", library, use, k, "per_token", tmp_path / str(number), quiet=True
        )
        assert answer.expert.outcome.task == "first"
        assert answer.reason.startswith(("from", "abstained"))
    other = make("roberta")
    with pytest.raises(UserError, match=r"fingerprint [0-9a-f]{64}.*has [0-9a-f]{64}"):
        transfer_to(other, "first", library, "auto", 1, "per_token", tmp_path / "other", quiet=True)


def test_transfer_is_left_out_where_no_source_gains(
    make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(sources=["second", "third"])
    library = Library.create(tmp_path / "library")
    for parcel in parcels(*own_prompts(recipe, tmp_path, quiet=True)):
        library.add(*parcel)
    from multigraft.strategies.answering import HeadAnswering

    for better, wanted in (("none", "abstained, a prompt from words"), ("third", "from third")):

        def scored(self: Any, model: Any, expert: int, task: str, better: str = better) -> float:
            return 90.0 if model.names[expert] == better else 10.0

        monkeypatch.setattr(HeadAnswering, "dev_score", scored)
        answer = transfer_to(make(training={**recipe.training.model_dump(), "steps": 12}), "first", library, "auto", 1,
                             "per_token", tmp_path / better, quiet=True)  # fmt: skip
        assert answer.reason.startswith(wanted)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_prompt_starts_from_words_of_its_task(make: MakeRecipe, tmp_path: Path, family: str) -> None:
    from multigraft.methods.prompt_init import frequent_tokens

    starts = {}
    for start in ("labels", "frequent"):
        recipe = make(family, start=start, sources=["second"])
        prompts_ = PromptTransfer(tmp_path).prompts(recipe, quiet=True)
        starts[start] = prompts_._words("first")["prompt"]  # type: ignore[index]
        again = PromptTransfer(tmp_path).prompts(recipe, quiet=True)._words("first")["prompt"]  # type: ignore[index]
        assert torch.equal(starts[start], again)
    backbone = prompts_.answering.backbone()
    texts = [" ".join(row.inputs) for row in prompts_.answering.split("first").train]
    words = backbone.embed(torch.tensor(frequent_tokens(backbone, texts))).detach()
    near = [(starts["frequent"][i] - words).abs().sum(-1).min() for i in range(3)]
    assert max(near) < 1e-6
    ids = backbone.tokenizer("cat", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(starts["labels"][0], backbone.embed(torch.tensor(ids)).detach().mean(0))
    assert go(make(family, start="labels", sources=["second"]), tmp_path).scores
    with pytest.raises(UserError, match="only a soft_prompt"):
        make(start="labels", method={"name": "prefix_tuning", "length": 3})


def test_rows_are_run_on_every_backbone(make: MakeRecipe, backbone_folder: Callable[..., str], tmp_path: Path) -> None:
    base = make(kind=ComparePrompts, rows=[{}, {"tune": "model"}]).model_dump(mode="json")
    names = [backbone_folder("bert"), backbone_folder("roberta")]
    recipe = build(ComparePrompts, on_backbones(base, names), "recipe")
    results = compare(recipe, tmp_path, quiet=True)
    ends = [Path(name).name for name in names]
    assert [row.label for row in results.rows] == [
        f"{label}, {end}" for end in ends for label in ("prompt tuning (length 3)", "model tuning")
    ]
