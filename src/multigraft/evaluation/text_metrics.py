"""Metrics of generated texts, with what a bootstrap of them needs."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from multigraft.errors import unknown

_NUMBER = re.compile(
    r"(?<!\w)(?<![0-9]\.)-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class TextScore:
    """The score of n texts, and what each adds to it."""

    metric: str
    score: float  # per cent
    # (n, W): the value of each text, W = 1, where the score is their mean, else counts whose sums give the score.
    statistics: np.ndarray


def text_scores(metric: str, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    """The metric of n texts against their references, at least one each; the best reference counts.

    An empty prediction scores 0.

    - `exact_match`: equal after `normal`; where the reference is a number, the last number in the prediction is equal
      after `normal_number`, so that reasoning may come before an answer, and units around it.
    - `token_f1`: F1 of the bags of words after `normal` (SQuAD: Rajpurkar et al. 2016, section 6.1).
    - `rouge1`, `rouge2`, `rougeL`: F-measure by rouge-score without stemming; it sees only a-z and 0-9.
    - `bleu`, `chrf`: of the whole corpus, by sacrebleu with its own settings (13a tokens; chrF2). All n-grams of the
      references count for BLEU, as it is defined.

    Raises UserError for an unknown metric.
    """
    if len(predictions) != len(references) or not len(predictions) or not all(references):
        raise ValueError("every prediction needs at least one reference, and there must be a prediction")
    if metric in _MEANS:
        value = _MEANS[metric]
        by_text = [
            max(value(text, one) for one in known) if text.strip() else 0.0
            for text, known in zip(predictions, references, strict=True)
        ]
        statistics = np.array(by_text, dtype=np.float64)[:, None]
    elif metric in _CORPUS:
        statistics = _corpus_statistics(metric, predictions, references)
    else:
        raise unknown("metric", metric, TEXT_METRICS)
    return TextScore(metric, float(scores_of_sums(metric, statistics.sum(0), len(predictions))), statistics)


def scores_of_sums(metric: str, sums: np.ndarray, rows: int) -> np.ndarray:
    """Scores (...), in per cent, of sets of `rows` texts whose `statistics` add up to sums (..., W)."""
    if metric in _MEANS:
        return 100 * sums[..., 0] / rows
    scorer = _CORPUS[metric]
    flat = sums.reshape(-1, sums.shape[-1]).tolist()
    return np.array([scorer._compute_score_from_stats(one).score for one in flat]).reshape(sums.shape[:-1])


def normal(text: str) -> str:
    """Lower case, without punctuation, articles and double spaces; but a text of nothing else keeps them."""
    plain = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split()) or " ".join(text.lower().split())


def normal_number(text: str) -> str | None:
    """The last number in a text, with six significant digits and without commas; None where there is none.

    Six digits, as references such as 0.833333 and 1.23667e+06 have no more. A minus is a sign where no letter or digit
    stands before it. Fractions, and numbers in words, are not read.
    """
    found = _NUMBER.findall(text)
    return f"{float(found[-1].replace(',', '')) + 0.0:.6g}" if found else None


def _exact_match(text: str, reference: str) -> float:
    if _NUMBER.fullmatch(reference.strip()):
        return float(normal_number(text) == normal_number(reference))
    return float(normal(text) == normal(reference))


def _token_f1(text: str, reference: str) -> float:
    found, wanted = normal(text).split(), normal(reference).split()
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted))


def _rouge(name: str) -> Callable[[str, str], float]:
    scorer = RougeScorer([name])
    return lambda text, reference: float(scorer.score(reference, text)[name].fmeasure)


def _corpus_statistics(metric: str, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Counts of n-grams and lengths as sacrebleu adds them up, (n, W)."""
    # It takes one list per position of a reference, with None where a text has fewer.
    most = max(map(len, references))
    columns: list[Any] = [[(*known, *[None] * most)[place] for known in references] for place in range(most)]
    return np.array(_CORPUS[metric]._extract_corpus_statistics(predictions, columns), dtype=np.float64)


_MEANS: dict[str, Callable[[str, str], float]] = {
    "exact_match": _exact_match,
    "token_f1": _token_f1,
    **{name: _rouge(name) for name in ("rouge1", "rouge2", "rougeL")},
}
_CORPUS: dict[str, BLEU | CHRF] = {"bleu": BLEU(force=True), "chrf": CHRF()}
TEXT_METRICS = (*_MEANS, *_CORPUS)
