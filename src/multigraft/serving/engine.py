"""What is served, whatever it was loaded from: tasks that answer, experts that write, a library that routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from multigraft.errors import UserError, unknown
from multigraft.evaluation.answers import Answer, Answerer
from multigraft.evaluation.generation import generate
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.instances import Instances
from multigraft.library.retrieval.keys import Router
from multigraft.library.retrieval.votes import Votes
from multigraft.methods.text_model import TextModel
from multigraft.settings import Record
from multigraft.tasks.outputs import Example

NEAR = 64  # nearest keys by which experts are compared for a text


class Entry(Record):
    """A task, or an expert, that is served. What is not known of it is None."""

    name: str
    kind: Literal["choice", "number", "text"]
    inputs: tuple[str, ...] | None = None  # names of its text fields
    choices: tuple[str, ...] | None = None
    choices_field: str | None = None  # of a row, where options come with it
    range: tuple[float, float] | None = None
    task: str | None = None  # that an expert was trained on
    method: str | None = None
    scores: dict[str, float] | None = None  # metric: per cent on the dev split
    routed: bool = False  # has it key vectors?


class Predicted(NamedTuple):
    """A question to tasks with heads: a row, and the tasks, which fit it."""

    row: Mapping[str, Any]
    tasks: tuple[str, ...]


class Written(NamedTuple):
    """A question to an expert that writes, and the most tokens of its answer."""

    text: str
    expert: str
    tokens: int


class Routed(NamedTuple):
    """Queries whose nearest keys vote for an expert, and from when on there is a decision."""

    queries: tuple[str, ...]
    least_confidence: float
    least_similarity: float


class Nearest(Record):
    """An expert, and the largest inner product of a query with one of its keys."""

    expert: str
    similarity: float


class Writer:
    """Experts of one text model."""

    def __init__(self, model: TextModel, max_input: int, max_tokens: int, precision: str) -> None:
        """max_input, max_tokens: tokens that are read and written at most, as far as the backbone has room.

        Raises UserError when it has none.
        """
        backbone = model.backbone
        together = backbone.family.kind == "decoder"
        room = backbone.max_length - model.prompt
        self.model, self.precision = model, precision
        self.most = min(max_tokens, room // 2 if together else room)
        if self.most < 1:
            raise UserError("leaves no room for a text", where=backbone.name, fix="serve experts with shorter prompts")
        self.form = backbone.text_format(min(max_input, room - self.most * together), self.most)

    def write(self, texts: Sequence[str], experts: Sequence[str], tokens: int) -> list[str]:
        """What each expert writes to its text, greedily."""
        chosen = [self.model.names.index(expert) for expert in experts]
        return generate(self.model, texts, chosen, self.form, max_tokens=tokens, precision=self.precision)


class Engine:
    """Tasks and experts behind one interface. Every method that answers takes questions that were looked at before."""

    def __init__(
        self,
        name: str,
        kind: Literal["model", "text model", "library"],
        entries: Sequence[Entry],
        *,
        answerer: Answerer | None = None,
        writers: Mapping[str, Writer] | None = None,
        index: Index | None = None,
        maps: tuple[str, str] | None = None,
    ) -> None:
        """writers: by expert. maps: a drawing of how alike the entries are, as SVG, wide and narrow.

        Raises UserError when the sentence encoder of an index is not to be had.
        """
        self.name, self.kind, self.entries, self.maps = name, kind, tuple(entries), maps
        self._answerer, self._writers, self._index = answerer, dict(writers or {}), index
        self._router = None if index is None else Router(index)

    @property
    def most_tokens(self) -> int:
        """Tokens that an expert can write at most; 0 where none writes."""
        return max((writer.most for writer in self._writers.values()), default=0)

    @property
    def offers(self) -> tuple[str, ...]:
        """What can be asked: predict, generate, route."""
        parts = {"predict": self._answerer, "generate": self._writers, "route": self._router}
        return tuple(name for name, part in parts.items() if part)

    def predicted(self, row: Mapping[str, Any], tasks: Sequence[str] | None) -> Predicted:
        """A question to tasks, by default to all that fit. Raises UserError when none does, or one is unknown."""
        if self._answerer is None:
            raise UserError("no task in here has a head", where=self.name, fix="ask it to generate")
        return Predicted(row, tuple(self._answerer.fitting(row, tasks)))

    def predict(self, questions: Sequence[Predicted]) -> list[dict[str, Answer]]:
        """The answers of the tasks, all in one batch."""
        assert self._answerer is not None
        return self._answerer.answer([one.row for one in questions], [one.tasks for one in questions])

    def written(self, text: str, expert: str | None, tokens: int | None) -> Written:
        """A question to an expert, which need not be named when it is the only one. Raises UserError."""
        if not self._writers:
            raise UserError("nothing in here writes text", where=self.name, fix="ask it to predict")
        if expert is None and len(self._writers) > 1:
            raise UserError(f"{len(self._writers)} experts write", fix=f"name one of {', '.join(self._writers)}")
        name = expert if expert is not None else next(iter(self._writers))
        if name not in self._writers:
            raise unknown("expert", name, self._writers)
        most = self._writers[name].most
        if tokens is not None and tokens > most:
            raise UserError(f"max_tokens is {tokens}", fix=f"{name} writes {most} at most")
        return Written(text, name, tokens or most)

    def generate(self, questions: Sequence[Written]) -> list[str]:
        """What experts write, those of one text model in one batch; the number of tokens is the first question's."""
        found = [""] * len(questions)
        for writer in dict.fromkeys(self._writers[one.expert] for one in questions):
            own = [i for i, one in enumerate(questions) if self._writers[one.expert] is writer]
            texts = writer.write([questions[i].text for i in own], [questions[i].expert for i in own],
                                 questions[0].tokens)  # fmt: skip
            for i, text in zip(own, texts, strict=True):
                found[i] = text
        return found

    def routed(self, rows: Sequence[Sequence[str]], least_confidence: float, least_similarity: float) -> Routed:
        """A question to the index: rows of texts, each row a query. Raises UserError without an index
        or words, and as `Router.texts`."""
        if self._router is None:
            raise UserError("no key vectors to route by", where=self.name, fix="run multigraft library index first")
        if any(not any(text.strip() for text in row) for row in rows):
            raise UserError("a text has no words", fix="give some")
        width = max(map(len, rows))
        names = ("text",) if width == 1 else tuple(f"text {number}" for number in range(1, width + 1))
        padded = [Example((*row, *[""] * (width - len(row))), (), "") for row in rows]
        queries = self._router.texts(Instances(padded, names))
        return Routed(tuple(queries), least_confidence, least_similarity)

    def route(self, questions: Sequence[Routed]) -> list[dict[str, Any]]:
        """For each question the votes of its queries and the nearest experts; all texts are embedded in one batch."""
        assert self._router is not None
        assert self._index is not None
        vectors = self._router.embed([query for one in questions for query in one.queries])
        decided, near = self._router.search(vectors, 1), self._router.search(vectors, NEAR)
        found, at = [], 0
        for one in questions:
            own = slice(at, at := at + len(one.queries))
            votes, best = Votes(), dict[str, float]()
            votes.add(decided[own])
            for neighbour in (neighbour for query in near[own] for neighbour in query):
                best[neighbour.expert] = max(best.get(neighbour.expert, -1.0), neighbour.score)
            decision = votes.decide(one.least_confidence, one.least_similarity)
            order = sorted(best, key=lambda name: (-best[name], name))
            found.append({
                "expert": decision.expert,
                "reason": decision.reason,
                "queries": votes.queries,
                "ranking": votes.ranking(),
                "nearest": tuple(Nearest(expert=name, similarity=best[name]) for name in order),
                "without_keys": self._index.without,
            })  # fmt: skip
        return found
