"""What predictors read, against the same computed plainly: a row, a source and an expert at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from multigraft.batching.encode import segments
from multigraft.errors import UserError
from multigraft.evaluation.ranking import score_options
from multigraft.library.predictors import PREDICTORS, Known
from multigraft.library.store import HEAD
from multigraft.methods.joint import JointModel
from multigraft.methods.stack import fresh_tensors
from multigraft.settings import build
from multigraft.strategies import fisher as fisher_module
from multigraft.strategies import known as known_module
from multigraft.strategies.answering import Answering, Model, Split, answering
from multigraft.strategies.experts import Outcome, Trained
from multigraft.strategies.known import PROBE, TaskReader
from multigraft.strategies.prompt_recipe import PromptRecipe
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import sample

LENGTHS = {"feeling": 3, "amount": 5, "pick": 4, "animal": 2, "reply": 3}  # of the prompts
SOURCES = ["animal", "amount", "feeling"]
WORDED = list(LENGTHS)
HEADED = WORDED[:-1]
Make = Callable[..., tuple[Answering, dict[str, Trained]]]


def tasks_of(family: str) -> list[str]:
    return HEADED if family == "bert" else WORDED


def trained(asked: Answering, task: str, folder: Path) -> Trained:
    """An expert that looks trained: its early and its best prompt differ, and its head is nobody else's."""
    model = asked.model({task: task}, asked.recipe.method, tuned=False)
    draw = torch.Generator().manual_seed(len(task))
    shape = (LENGTHS[task], model.backbone.embedding_width)
    best = {"prompt": torch.randn(shape, generator=draw)}
    place = folder / task / "result"
    place.mkdir(parents=True)
    save_file({"prompt": torch.randn(shape, generator=draw)}, place / "early.safetensors")
    if isinstance(model, JointModel):
        head = model.heads.expert(task).items()
        best |= {f"{HEAD}{key}": torch.randn(tensor.shape, generator=draw) * 0.3 for key, tensor in head}
    save_file(best, place / "best.safetensors")
    return Trained(task, folder / task, Outcome.model_construct(task=task))


@pytest.fixture(scope="module")
def make(
    tiny_suite: str, backbone_folder: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Answering, dict[str, Trained]]]:
    made: dict[str, tuple[Answering, dict[str, Trained]]] = {}

    def build_one(family: str) -> tuple[Answering, dict[str, Trained]]:
        if family not in made:
            values: dict[str, Any] = {
                "suite": tiny_suite, "tasks": tasks_of(family), "backbone": {"name": backbone_folder(family)},
                "method": {"name": "soft_prompt", "length": 4}, "templates": "no template", "dev_examples": 10,
                "text": {"max_input": 24, "max_target": 6},
                "training": {"steps": 5, "precision": "fp32", "max_length": 24},
            }  # fmt: skip
            suite = load_suite(tiny_suite)
            asked = answering(build(PromptRecipe, values, "recipe"), [suite.tasks[name] for name in values["tasks"]])
            folder = tmp_path_factory.mktemp(f"prompts-{family}")
            made[family] = asked, {name: trained(asked, name, folder) for name in values["tasks"]}
        return made[family]

    return build_one


def alone(asked: Answering, prompts: dict[str, Trained], task: str, prompt: dict[str, torch.Tensor]) -> Model:
    """A model of one expert with this prompt, on an encoder with the task's own head."""
    model = asked.model({task: task}, asked.recipe.method, tuned=False)
    model.bank.stack.load_expert(task, prompt)
    if isinstance(model, JointModel):
        best = prompts[task].best().items()
        model.heads.load_expert(task, {k.removeprefix(HEAD): v for k, v in best if k.startswith(HEAD)})
    model.eval()
    return model


def row_by_row(asked: Answering, task: str, encoded: Any) -> list[Any]:
    objective = asked.objective({task: task}, {task: encoded})
    return [objective.collate(np.array([0]), np.array([i])) for i in range(len(encoded))]


@pytest.mark.parametrize("predictor", PREDICTORS.names())
def test_only_what_is_read_is_there_and_it_is_enough(make: Make, predictor: str) -> None:
    asked, prompts = make("bert")
    reads = PREDICTORS.get(predictor).reads
    found = TaskReader(asked).known(prompts, ["pick"], SOURCES, [predictor])
    assert sorted(found) == sorted(["pick", *SOURCES])
    for name, known in found.items():
        values = {field.name: getattr(known, field.name) for field in fields(Known) if field.name != "name"}
        there = {
            what for what, value in values.items() if value is not None and not (isinstance(value, dict) and not value)
        }
        assert there == (reads if name == "pick" else reads - {"labels", "features", "losses"})
    scores = PREDICTORS.get(predictor)().scores(found["pick"], [found[source] for source in SOURCES])
    assert np.isfinite(scores).all()


def test_no_model_is_made_for_what_needs_none(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, prompts = make("bert")
    monkeypatch.setattr(asked, "model", None)
    found = TaskReader(asked).known(prompts, ["pick"], SOURCES, ["size", "per_token", "average_tokens", "text"])
    assert found["animal"].size == len(asked.split("animal").train) == 150
    assert np.array_equal(found["amount"].prompt, prompts["amount"].early()["prompt"].numpy())
    assert found["amount"].prompt.shape == (5, 24)
    assert found["pick"].texts.shape == (len(sample(asked.split("pick").train, 64)), 24)
    assert TaskReader(asked).known({}, ["pick"], [], []) == {"pick": Known("pick")}


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_texts_are_mean_states_of_the_plain_encoder(make: Make, family: str) -> None:
    asked, prompts = make(family)
    found = TaskReader(asked).known(prompts, ["animal"], [], ["text"])["animal"].texts
    backbone = asked.backbone()
    encoder = backbone.model if family == "bert" else backbone.model.get_encoder()
    rows = sample(asked.split("animal").train, 64)
    assert found.shape == (64, 24)
    for row, vector in zip(rows[:5], found, strict=False):
        ids = torch.tensor([backbone.tokenizer(" ".join(row.inputs))["input_ids"]])
        states = encoder.eval()(input_ids=ids).last_hidden_state[0]
        assert np.allclose(vector, states.mean(0).detach(), atol=1e-5)


def test_texts_of_a_decoder_are_embedded_by_a_sentence_encoder(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[len(text), 1.0] for text in texts])

    monkeypatch.setattr(known_module, "Embedder", Lengths)
    asked, prompts = make("llama")
    found = TaskReader(asked).known(prompts, ["animal"], ["reply"], ["text"])
    rows = sample(asked.split("animal").train, 64)
    assert found["animal"].texts[:, 0].tolist() == [len("\n".join(row.inputs)) for row in rows]
    assert found["reply"].texts.shape == (len(sample(asked.split("reply").train, 64)), 2)


@pytest.mark.parametrize(("family", "task"), [(f, task) for f in ("bert", "t5", "llama") for task in tasks_of(f)])
def test_information_is_that_of_one_row_after_the_other(
    make: Make, monkeypatch: pytest.MonkeyPatch, family: str, task: str
) -> None:
    asked, prompts = make(family)
    drawn: list[int] = []
    pairs: list[tuple[str, str]] = []
    multinomial, encode_text = torch.multinomial, fisher_module.encode_text

    def draw(*args: Any, **options: Any) -> torch.Tensor:
        found = multinomial(*args, **options)
        drawn.extend(found[:, 0].tolist())
        return found

    def encode(given: list[tuple[str, str]], *args: Any) -> Any:
        pairs.extend(given)
        return encode_text(given, *args)

    monkeypatch.setattr(torch, "multinomial", draw)
    monkeypatch.setattr(fisher_module, "encode_text", encode)
    found = TaskReader(asked).known(prompts, [task], [], ["fisher"])[task].fisher
    rows = asked.split(task).dev
    assert found.shape == (4 * 24,)
    assert len(rows) == 10

    model = alone(asked, prompts, task, {"prompt": torch.zeros(4, 24)})
    stack = model.bank.stack
    stack.load_expert(task, fresh_tensors(stack.specs, PROBE, asked.recipe.seed))
    if family == "bert":
        encoded: Any = asked.encoded(task, rows)
    else:
        form = model.backbone.text_format(24, 6)
        encoded = encode_text(pairs, model.backbone.tokenizer, form)
        options = [set(question.options) for question in asked.rendered(task, rows)]  # type: ignore[attr-defined]
        assert all(not known or answer in known for known, (_, answer) in zip(options, pairs, strict=True))
    squares = []
    for i, batch in enumerate(row_by_row(asked, task, encoded)):
        stack.values.grad = None
        outputs = model(batch)
        if family == "bert":
            outputs = outputs[0, 0] if task == "amount" else outputs.log_softmax(-1)[0, drawn[i]]
        outputs.sum().backward()
        squares.append(stack.values.grad[0].double().numpy() ** 2)
    assert found.max() > 0
    assert np.allclose(found, np.mean(squares, axis=0), rtol=1e-3, atol=1e-7 * found.max())


def test_answers_in_words_are_drawn_by_their_probabilities(make: Make) -> None:
    asked, _ = make("t5")
    row = asked.split("feeling").dev[0]
    model = asked.model({PROBE: "feeling"}, asked.recipe.method, tuned=False)
    model.eval()
    question = asked.rendered("feeling", [row])[0]  # type: ignore[attr-defined]
    form = model.backbone.text_format(24, 6)
    # The tiny model is too sure of one answer to see a draw, so it is made less so.
    with torch.no_grad():
        model.language_model.lm_head.weight.mul_(0.05)
    total = score_options(model, [question.input], [question.options], [0], form).total
    wanted = np.exp(total - np.logaddexp.reduce(total))
    assert wanted.max() < 0.9
    encoded = fisher_module._drawn(asked, model, "feeling", [row] * 400)
    words = [model.backbone.tokenizer.decode(encoded.target(i)[:-1]) for i in range(400)]
    shares = np.array([words.count(option) for option in question.options]) / 400
    assert shares.sum() == 1
    assert np.all(np.abs(shares - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 400))


@pytest.mark.parametrize(("family", "task"), [(f, task) for f in ("bert", "t5", "llama") for task in tasks_of(f)])
def test_losses_are_those_of_each_source_alone(make: Make, family: str, task: str) -> None:
    asked, prompts = make(family)
    found = TaskReader(asked).known(prompts, [task], SOURCES, ["loss"])[task].losses
    assert list(found) == SOURCES
    encoded = asked.encoded(task, asked.split(task).dev)
    for source in SOURCES:
        model = alone(asked, prompts, task, prompts[source].module())
        losses = []
        for i, batch in enumerate(row_by_row(asked, task, encoded)):
            outputs = model(batch).detach()
            if family != "bert":
                losses.append(-float(outputs.mean()))
            elif task == "amount":
                losses.append((float(outputs[0, 0]) - (float(asked.split(task).dev[i].target) - 1) / 4) ** 2)
            else:
                losses.append(-float(outputs.log_softmax(-1)[0, asked.split(task).dev[i].target]))
        assert found[source] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_features_are_those_of_a_plain_backbone_with_the_prompt_in_front(make: Make, family: str) -> None:
    asked, prompts = make(family)
    found = TaskReader(asked).known(prompts, ["animal"], SOURCES, ["logme"])["animal"]
    rows, backbone = asked.split("animal").dev, asked.backbone()
    tokenizer = backbone.tokenizer
    assert found.labels.tolist() == [row.target for row in rows]
    assert found.labels.dtype == np.int64
    for source in SOURCES:
        assert found.features[source].shape == (10, 24)
        prompt = prompts[source].best()["prompt"]
        for row, vector in zip(rows, found.features[source], strict=True):
            if family == "bert":
                coded = tokenizer(*segments(row.inputs, None, tokenizer.sep_token))
            else:
                coded = tokenizer("\n".join(row.inputs))
            reader = backbone.reader(0).eval()
            embedded = backbone.embed(torch.tensor(coded["input_ids"]))
            states = reader(inputs_embeds=torch.cat([prompt, embedded])[None]).last_hidden_state[0]
            states = states[len(prompt) :].detach()
            assert np.allclose(vector, states[0] if family == "bert" else states.mean(0), atol=1e-4)


def test_every_option_that_comes_with_a_row_is_an_example_of_a_head(make: Make) -> None:
    asked, prompts = make("bert")
    found = TaskReader(asked).known(prompts, ["pick", "amount"], SOURCES, ["logme"])
    rows = asked.split("pick").dev
    count = sum(len(row.choices) for row in rows)
    assert count > len(rows)
    assert found["pick"].labels.tolist() == [int(k == row.target) for row in rows for k in range(len(row.choices))]
    assert found["pick"].features["animal"].shape == (count, 24)
    assert found["amount"].labels.tolist() == [row.target for row in asked.split("amount").dev]
    assert np.issubdtype(found["amount"].labels.dtype, np.floating)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_a_text_has_a_loss_and_no_features(make: Make, family: str) -> None:
    asked, prompts = make(family)
    found = TaskReader(asked).known(prompts, ["reply"], SOURCES, ["loss", "logme"])["reply"]
    assert found.labels is None
    assert found.features == {}
    assert list(found.losses) == SOURCES


@pytest.mark.parametrize(
    ("family", "task"), [("bert", "pick"), ("bert", "amount"), ("t5", "animal"), ("llama", "animal")]
)
def test_small_batches_give_the_same(make: Make, monkeypatch: pytest.MonkeyPatch, family: str, task: str) -> None:
    asked, prompts = make(family)
    read = ["loss", "logme", *(["fisher"] if task == "amount" or family != "bert" else [])]
    whole = TaskReader(asked).known(prompts, [task], SOURCES, read)[task]
    monkeypatch.setattr(known_module, "POSITIONS", 60)
    parts = TaskReader(asked).known(prompts, [task], SOURCES, read)[task]
    for source in SOURCES:
        assert parts.losses[source] == pytest.approx(whole.losses[source], rel=1e-4)
        assert np.allclose(parts.features[source], whole.features[source], atol=1e-4)
    if whole.fisher is not None:
        assert np.allclose(parts.fisher, whole.fisher, rtol=1e-3, atol=1e-7 * whole.fisher.max())


def test_one_source_will_do_and_may_be_the_target(make: Make) -> None:
    asked, prompts = make("bert")
    found = TaskReader(asked).known(prompts, ["feeling"], ["feeling"], ["loss", "fisher", "logme"])
    assert list(found) == ["feeling"]
    several = TaskReader(asked).known(prompts, ["feeling"], SOURCES, ["loss", "logme"])["feeling"]
    assert found["feeling"].losses["feeling"] == pytest.approx(several.losses["feeling"], rel=1e-4)
    assert np.allclose(found["feeling"].features["feeling"], several.features["feeling"], atol=1e-4)


def test_a_task_without_rows_to_choose_by_is_one_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, prompts = make("bert")
    monkeypatch.setitem(asked._splits, "feeling", Split(asked.split("feeling").train, []))
    with pytest.raises(UserError, match="task feeling: no rows to choose by"):
        TaskReader(asked).known(prompts, ["feeling"], SOURCES, ["loss"])
    with pytest.raises(UserError, match="task feeling: no rows to choose by"):
        TaskReader(asked).known(prompts, ["pick"], ["feeling"], ["fisher"])


def test_an_unknown_predictor_is_one_line(make: Make) -> None:
    with pytest.raises(UserError, match="unknown predictor 'losss'; did you mean 'loss'"):
        TaskReader(make("bert")[0]).known({}, ["pick"], [], ["losss"])
