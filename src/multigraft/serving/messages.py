"""What the server is asked and what it answers, as JSON; the OpenAPI description is made of these records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from multigraft.evaluation.answers import Answer
from multigraft.serving.engine import Entry, Nearest
from multigraft.settings import Record


def _whole(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a surrogate pair is not text")
    return text


Text = Annotated[str, AfterValidator(_whole)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=16)]


class _Row(Record):
    """A text, or several of one row."""

    text: Text | None = Field(None, description="A text, for tasks with one input.")
    texts: Texts | None = Field(None, description="The texts of a row, in the order of a task's inputs.")


def _one_of(record: Record, names: tuple[str, ...]) -> None:
    if sum(getattr(record, name) is not None for name in names) != 1:
        raise ValueError(f"give one of {', '.join(names)}")


class Predict(_Row):
    """A row for tasks with heads."""

    fields: dict[str, Text | Annotated[list[Text], Field(max_length=64)]] | None = Field(
        None, description="A row with the fields of tasks by name; options of a row are a list."
    )
    tasks: list[str] | None = Field(None, description="Only these tasks or experts; by default all that fit the row.")

    @model_validator(mode="after")
    def _a_row(self) -> Predict:
        _one_of(self, ("text", "texts", "fields"))
        return self

    def row(self) -> dict[str, Any]:
        """As tasks read it."""
        if self.fields is not None:
            return dict(self.fields)
        return {"text": self.text} if self.text is not None else {"texts": self.texts}


class Generate(Record):
    """A text for an expert that writes."""

    text: Text
    expert: str | None = Field(None, description="May be left out when only one writes.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens to write; by default as many as it can.")


class Route(_Row):
    """A row, or several that vote, for the index of a library."""

    queries: Annotated[list[Text], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Several texts, each a query with a vote of its own."
    )
    least_confidence: float = Field(0.0, ge=0, le=1, description="Choose none whose share of the votes is below.")
    least_similarity: float = Field(-1.0, ge=-1, le=1, description="Choose none with a lower mean similarity.")

    @model_validator(mode="after")
    def _a_query(self) -> Route:
        _one_of(self, ("text", "texts", "queries"))
        return self

    def rows(self) -> list[list[str]]:
        """The texts of each query."""
        if self.queries is not None:
            return [[query] for query in self.queries]
        return [[self.text]] if self.text is not None else [self.texts or []]


class TaskAnswer(Record):
    """A choice with its probability and those of all options, or a number."""

    choice: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    number: float | None = None


class Predictions(Record):
    """What each task answers."""

    answers: dict[str, TaskAnswer]


class Generated(Record):
    """What an expert wrote."""

    expert: str
    output: str


class Ranked(Record):
    """An expert in the ranking: see `multigraft.library.retrieval.votes`."""

    expert: str
    votes: int
    confidence: float  # its votes over the queries
    interval: tuple[float, float]  # 95 %, of the confidence
    score: float  # sum over its votes of the inner product of query and nearest key
    similarity: float  # their mean
    tied: tuple[str, ...]  # others with as many votes
    decided_by: Literal["votes", "score", "name"]


class RouteResult(Record):
    """The expert to use, or None: better use none; why; and how the others did."""

    expert: str | None
    reason: str
    queries: int
    ranking: tuple[Ranked, ...]
    nearest: tuple[Nearest, ...]  # experts by their key that is nearest to a query
    without_keys: tuple[str, ...]


class Tasks(Record):
    """What is served."""

    name: str
    kind: str
    version: str
    offers: tuple[str, ...]
    max_tokens: int
    map: bool
    tasks: tuple[Entry, ...]


class Map(Record):
    """A drawing of how alike experts are, as SVG, for wide and for narrow screens."""

    wide: str
    narrow: str


class Health(Record):
    """The server is there."""

    status: str


class Fault(Record):
    """Why a request was refused."""

    error: str


def answers_record(answers: dict[str, Answer]) -> dict[str, Any]:
    """`Predictions` for JSON."""
    return {
        "answers": {
            name: answer.record() | ({} if answer.number is not None else {"probabilities": dict(answer.probabilities)})
            for name, answer in answers.items()
        }
    }


def route_record(found: dict[str, Any]) -> dict[str, Any]:
    """`RouteResult` for JSON."""
    ranking = [place.model_dump(mode="json") | {"similarity": place.similarity} for place in found["ranking"]]
    nearest = [one.model_dump(mode="json") for one in found["nearest"]]
    return found | {"ranking": ranking, "nearest": nearest, "without_keys": list(found["without_keys"])}
