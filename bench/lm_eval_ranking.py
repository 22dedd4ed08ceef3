"""Rank classification over lm-eval's: the same log-probabilities and choices, and the time they take."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import compare, finish, interleave, options, run_in, timed, versions
from text_sides import llama_like
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from multigraft.backbones.load import load_backbone
from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.batching.text import SEPARATOR
from multigraft.evaluation.ranking import OptionScores, score_options
from multigraft.methods.bank import Bank
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel

CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of log-probabilities in float32
VOCABULARY, LONGEST = 8000, 512
SPECIAL = ["<pad>", "<unk>", "<start>", "<end>"]  # at the places where the tiny models have them
FAMILIES = ("llama", "gpt2", "t5")
QUESTIONS, WORDS, CHOICES, ROWS = 8, 200, 4, 8  # of the part that is timed
OURS, THEIRS, BOTH = "score_options", "lm-eval", "lm-eval, with options alone"


@dataclass(frozen=True)
class Questions:
    """Inputs with the options of each."""

    inputs: list[str]
    options: list[list[str]]

    def pairs(self, kind: str) -> list[tuple[str, str]]:
        """Context and continuation of every option, as lm-eval takes them; an encoder reads no separator."""
        between = "" if kind == "encoder_decoder" else SEPARATOR
        return [
            (text, between + option) for text, mine in zip(self.inputs, self.options, strict=True) for option in mine
        ]

    def alone(self, kind: str) -> list[tuple[str, str]]:
        """The same without the context."""
        return [("", continuation) for _, continuation in self.pairs(kind)]


def made_up_words(number: int, rng: np.random.Generator) -> list[str]:
    """Words of two or three syllables; some letters take two bytes."""
    syllables = [consonant + vowel for consonant in string.ascii_lowercase for vowel in "aeiouéø"]
    return ["".join(rng.choice(syllables, rng.integers(2, 4))) for _ in range(number)]


def made_up_questions(
    number: int, words: Sequence[str], length: tuple[int, int], choices: tuple[int, int], rng: np.random.Generator
) -> Questions:
    """Inputs of so many words, with so many options of two to five words; both bounds included."""

    def phrase(low: int, high: int) -> str:
        return " ".join(rng.choice(words, rng.integers(low, high + 1)))

    asked = [phrase(*length) for _ in range(number)]
    return Questions(asked, [[phrase(2, 5) for _ in range(rng.integers(choices[0], choices[1] + 1))] for _ in asked])


def tokenizer(words: Sequence[str], *, encoder: bool) -> Any:
    """A byte-level tokenizer trained on the words; a decoder's text has a start token, an encoder's an end token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    made.train_from_iterator([" ".join(words)], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A <end>" if encoder else "<start> $A", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    if not encoder:
        names["bos_token"] = "<start>"
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LONGEST, **names)


def tiny(family: str) -> Any:
    """A random tiny model."""
    return tiny_text_backbone(family, vocab_size=VOCABULARY, max_position_embeddings=LONGEST).model


def text_model(folder: Path, device: torch.device) -> TextModel:
    """The model in a folder, with an expert that has no parameters."""
    backbone = load_backbone(str(folder))
    return TextModel(backbone, Bank(HeadsOnly(), backbone, ["untuned"]), tuned=False).to(device)


def ranked(model: TextModel, asked: Questions) -> OptionScores:
    """Our scores, in float32."""
    form = model.backbone.text_format(LONGEST, LONGEST)
    return score_options(model, asked.inputs, asked.options, [0] * len(asked.inputs), form, "fp32")


def difference(folder: Path, asked: Questions) -> float:
    """The largest difference of log-probabilities between both sides, on the CPU. Ends when one is too large."""
    from peers_lm_eval import choices, lm_eval_model, log_probabilities

    model = text_model(folder, CPU)
    ours, kind = ranked(model, asked), model.backbone.family.kind
    peer = lm_eval_model(folder, kind, ROWS, CPU)
    total, alone = (log_probabilities(peer, pairs) for pairs in (asked.pairs(kind), asked.alone(kind)))
    largest = max(float(np.abs(ours.total - total).max()), float(np.abs(ours.unconditional - alone).max()))
    if not largest <= TOLERANCE:
        raise SystemExit(f"{folder.name}: log-probabilities differ from lm-eval's by up to {largest:.1e}")
    spans = zip(ours.first[:-1], ours.first[1:], asked.options, strict=True)
    theirs = [choices(total[a:b], alone[a:b], mine) for a, b, mine in spans]
    for norm in ("sum", "bytes", "unconditional"):
        other = np.flatnonzero(ours.choose(norm) != [chosen[norm] for chosen in theirs])
        if len(other):
            raise SystemExit(f"{folder.name}: other choices than lm-eval's by {norm}, for questions {other.tolist()}")
    return largest


def main() -> None:
    """Compare, measure and keep the results."""
    run_in("lm_eval")
    chosen = options(__doc__ or "")
    disable_progress_bar()
    from peers_lm_eval import lm_eval_model, log_probabilities
    from sides import DEVICE

    rng = np.random.default_rng(0)
    words = made_up_words(3000, rng)
    few = made_up_questions(30, words, (1, 60), (2, 5), rng)
    timed_ones = made_up_questions(QUESTIONS, words, (WORDS, WORDS), (CHOICES, CHOICES), rng)
    with tempfile.TemporaryDirectory() as place:
        folders = {family: Path(place) / family for family in (*FAMILIES, "like MiniLM")}
        for family, folder in folders.items():
            made = tiny(family) if family in FAMILIES else llama_like(VOCABULARY, start=2, end=3)
            made.save_pretrained(folder)
            tokenizer(words, encoder=family == "t5").save_pretrained(folder)
        differences = {family: difference(folder, few) for family, folder in folders.items()}
        model = text_model(folders["like MiniLM"], DEVICE)
        peer = lm_eval_model(folders["like MiniLM"], "decoder", ROWS, DEVICE)
    for family, largest in differences.items():
        print(f"{family}: the same choices as lm-eval's; log-probabilities differ by at most {largest:.1e}")
    pairs, alone = timed_ones.pairs("decoder"), timed_ones.alone("decoder")
    sides = {
        OURS: timed(lambda: ranked(model, timed_ones)),
        THEIRS: timed(lambda: log_probabilities(peer, pairs)),
        BOTH: timed(lambda: log_probabilities(peer, pairs + alone)),
    }
    times = interleave(sides, chosen.seconds, warm_up=1)
    measures = [compare(times, OURS, THEIRS, 0.5), compare(times, OURS, BOTH)]
    settings = {"questions": QUESTIONS, "words of an input": WORDS, "options": CHOICES, "texts in a batch": ROWS,
                "backbone": "Llama, D 384, 6 layers, random", "precision": "float32",
                "largest difference": differences}  # fmt: skip
    title = "Rank classification, and lm-eval"
    finish("lm_eval_ranking", title, measures, chosen, settings=settings, peers=versions("lm_eval"))


if __name__ == "__main__":
    main()
