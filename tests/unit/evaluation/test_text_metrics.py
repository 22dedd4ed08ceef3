"""Text metrics against values by hand, and against the libraries that define them, resamples included."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from multigraft.errors import UserError
from multigraft.evaluation.text_metrics import TEXT_METRICS, normal, normal_number, scores_of_sums, text_scores
from multigraft.tasks.task import METRICS

PREDICTIONS = [
    "the cat sat on the mat .",
    "a dog is in the big red house",
    "",
    "it rains in the north of the land today",
    "yes",
    "two birds sing in an old tree by the river",
]
REFERENCES = [
    ["the cat sat on a mat .", "there is a cat on the mat ."],
    ["a dog lives in the big red house"],
    ["nothing at all is said here"],
    ["today it rains in the north of the land", "it rains", "rain in the north"],
    ["yes"],
    ["two birds sing in the old tree by the water"],
]


def one(metric: str, prediction: str, *references: str) -> float:
    return text_scores(metric, [prediction], [references]).score


def test_every_text_metric_of_a_task_is_here() -> None:
    assert set(TEXT_METRICS) == set(METRICS["text"])


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match="unknown metric 'blue'; did you mean 'bleu'"):
        text_scores("blue", ["a"], [["a"]])


@pytest.mark.parametrize(("predictions", "references"), [([], []), (["a"], []), (["a", "b"], [["a"], []])])
def test_texts_without_references_are_no_input(predictions: list[str], references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="reference"):
        text_scores("exact_match", predictions, references)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The  Cat's hat!", "cats hat"), ("an apple, a day", "apple day"), ("Athens", "athens"), ("A", "a"), ("?", "?")],
)
def test_normal(text: str, expected: str) -> None:
    assert normal(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("72", "72"),
        ("72.0", "72"),
        ("She pays 3 times 6 dollars. The answer is $18.", "18"),
        ("10 - 7 = 3", "3"),
        ("10-7", "7"),  # no sign here
        ("it is -7", "-7"),
        ("-0.0", "0"),
        ("1,200.50 kg", "1200.5"),
        ("2.4e+06", "2.4e+06"),
        ("2,400,000", "2.4e+06"),
        ("0.8333333333", "0.833333"),
        (".5", "0.5"),
        ("50%", "50"),
        ("version v2.1", None),
        ("seven", None),
        ("", None),
    ],
)
def test_normal_number(text: str, expected: str | None) -> None:
    assert normal_number(text) == expected


def test_exact_match_by_hand() -> None:
    assert one("exact_match", "The Thames.", "thames") == 100
    assert one("exact_match", "river Thames", "thames") == 0
    assert one("exact_match", "thames", "Rhine", "the Thames") == 100
    assert one("exact_match", "A", "a") == 100
    assert text_scores("exact_match", ["x", "y", "z"], [["x"], ["y"], ["w"]]).score == pytest.approx(200 / 3)


def test_exact_match_of_numbers_is_of_the_last_one() -> None:
    assert one("exact_match", "5 + 67 = 72", "72.0") == 100
    assert one("exact_match", "72 of 80", "72") == 0
    assert one("exact_match", "7.2", "72") == 0  # though both lose their punctuation as texts
    assert one("exact_match", "many", "72") == 0
    assert one("exact_match", "about 72 people", "72 people") == 0  # a text, although it holds a number


def test_token_f1_by_hand() -> None:
    # {cat, sat, here} and {cat, sat, on, mat}: two in common, 2 * 2 / 7.
    assert one("token_f1", "The cat sat here!", "a cat sat on the mat") == pytest.approx(400 / 7)
    assert one("token_f1", "dog dog", "dog") == pytest.approx(200 / 3)
    assert one("token_f1", "dog", "cat", "the dog") == 100
    assert one("token_f1", "dog", "cat") == 0


def test_rouge_by_hand() -> None:
    prediction, reference = "a cat sat here", "a cat is sitting here"
    assert one("rouge1", prediction, reference) == pytest.approx(100 * 2 * 3 / 9)
    assert one("rouge2", prediction, reference) == pytest.approx(100 * 2 * 1 / 7)
    assert one("rougeL", "here a cat", reference) == pytest.approx(100 * 2 * 2 / 8)


@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_the_mean_of_the_librarys(metric: str) -> None:
    scorer = RougeScorer([metric])
    by_text = [scorer.score_multi(r, p)[metric].fmeasure for p, r in zip(PREDICTIONS, REFERENCES, strict=True)]
    found = text_scores(metric, PREDICTIONS, REFERENCES)
    np.testing.assert_allclose(found.statistics[:, 0], by_text)
    assert found.score == pytest.approx(100 * np.mean(by_text))


def corpus(metric: str, rows: np.ndarray) -> float:
    """The score of some of the texts by sacrebleu."""
    columns = [[REFERENCES[row][place] if place < len(REFERENCES[row]) else None for row in rows] for place in range(3)]
    function = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[metric]
    return float(function([PREDICTIONS[row] for row in rows], columns).score)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_a_resample_of_a_corpus_metric_is_exact(metric: str) -> None:
    found = text_scores(metric, PREDICTIONS, REFERENCES)
    assert found.score == pytest.approx(corpus(metric, np.arange(6)))
    resamples = np.random.default_rng(0).integers(6, size=(2, 10, 6))
    together = scores_of_sums(metric, found.statistics[resamples].sum(-2), 6)
    assert together.shape == (2, 10)
    for at in np.ndindex(2, 10):
        assert together[at] == pytest.approx(corpus(metric, resamples[at]))
    assert len(np.unique(together.round(6))) > 10


@pytest.mark.parametrize("metric", TEXT_METRICS)
@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_prediction_scores_0(metric: str, empty: str) -> None:
    assert one(metric, empty, "some words here") == 0
    assert one(metric, empty, "", "the") == 0
    assert one(metric, empty, "7") == 0


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_perfect_is_100(metric: str) -> None:
    texts = ["the cat sat on the mat", "it rains in the north today"]
    assert text_scores(metric, texts, [[text] for text in texts]).score == pytest.approx(100)


@pytest.mark.parametrize("metric", TEXT_METRICS)
@given(texts=st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=3))
def test_any_texts_score_between_0_and_100(metric: str, texts: list[tuple[str, str]]) -> None:
    found = text_scores(metric, [text for text, _ in texts], [[known] for _, known in texts])
    assert 0 <= found.score <= 100 + 1e-9
    assert np.isfinite(found.statistics).all()
    assert found.statistics.shape[0] == len(texts)
