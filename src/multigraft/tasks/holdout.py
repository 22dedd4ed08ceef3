"""The hold-out compiler: what to train on so that a cluster can be tested as unseen, with a certificate.

Wei et al. 2022 (FLAN, arXiv 2109.01652), section 2.1: a task is unseen only if no task of any cluster that it belongs
to was trained on. Beyond the paper, data sets that share a source with a held-out one are left out, and training rows
that nearly repeat a held-out evaluation row are taken out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from multigraft import __version__
from multigraft.errors import UserError, unknown
from multigraft.files import write_json
from multigraft.settings import Record, build
from multigraft.tasks.minhash import Index, Nearness
from multigraft.tasks.outputs import Choice, Example
from multigraft.tasks.readers.json import read_json
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Task

TRAIN = "train"  # the split that is trained on; all others are for evaluation


class Reason(Record):
    """Why a task is not trained on."""

    kind: Literal["held_out", "shared_cluster", "excluded", "shared_source", "no_training_rows"]
    text: str


class LeftOut(Record):
    """A task that is not trained on."""

    task: str
    reasons: tuple[Reason, ...]


class Rows(Record):
    """Rows of a split that were compared: of a held-out task for evaluation, of another for training."""

    task: str
    split: str
    rows: int
    fingerprint: str  # SHA-256 of their contents, in order


class Overlap(Record):
    """A training row that is taken out, and the held-out row that it resembles most.

    A row's number is its index in `Task.examples(split)`, counted from 0.
    """

    task: str
    split: str
    row: int
    held_out_task: str
    held_out_split: str
    held_out_row: int
    estimated: float  # Jaccard similarity by MinHash
    exact: float


class Certificate(Record):
    """What a model may be trained on to be tested on `clusters`; `seal` is the SHA-256 of everything else."""

    format: Literal[1] = 1
    multigraft: str = __version__
    suite: str
    clusters: Annotated[tuple[str, ...], Field(min_length=1)]
    held_out: tuple[str, ...]  # tasks to test
    trained_on: tuple[str, ...]
    left_out: tuple[LeftOut, ...]  # every other task, the held-out ones included
    nearness: Nearness
    rows: tuple[Rows, ...]
    overlaps: tuple[Overlap, ...]
    seal: str = ""

    def digest(self) -> str:
        """SHA-256, in hex, of the canonical JSON of everything but the seal."""
        values = self.model_dump(mode="json", exclude={"seal"})
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def dropped(self, task: str) -> tuple[int, ...]:
        """Indices, ascending, in `Task.examples("train")` of the rows not to train on. Raises UserError."""
        if task not in self.trained_on:
            raise unknown("training task", task, self.trained_on, where=f"hold-out of {', '.join(self.clusters)}")
        return tuple(overlap.row for overlap in self.overlaps if overlap.task == task)

    def write(self, path: Path) -> None:
        """Write the certificate as JSON."""
        write_json(path, self.model_dump(mode="json"))


def read_certificate(path: Path) -> Certificate:
    """The certificate in a file, whether it holds or not. Raises UserError for anything that is none."""
    return build(Certificate, read_json(path), path)


def hold_out(suite: Suite, clusters: Iterable[str], nearness: Nearness | None = None) -> Certificate:
    """Compile the training mixture of `suite` for testing `clusters`; every row that is used is read.

    Raises UserError for an unknown cluster, for bad rows, and when nothing is left to train on.
    """
    clusters, nearness = tuple(dict.fromkeys(clusters)), nearness or Nearness()
    for cluster in clusters:
        if cluster not in suite.clusters:
            raise unknown("cluster", cluster, suite.clusters, where=f"suite {suite.name}")
    tested = [task for task in suite.tasks.values() if set(clusters).intersection(task.clusters)]
    reasons = {name: _reasons(task, tested, clusters, suite) for name, task in suite.tasks.items()}
    trained = [task for name, task in suite.tasks.items() if not reasons[name]]
    if not tested or not trained:
        what = "nothing is left to train on" if tested else "no cluster is held out"
        raise UserError(what, where=f"suite {suite.name}", fix="name other clusters")
    rows, overlaps = _compare(tested, trained, nearness)
    certificate = Certificate(
        suite=suite.name,
        clusters=clusters,
        held_out=tuple(task.name for task in tested),
        trained_on=tuple(task.name for task in trained),
        left_out=tuple(LeftOut(task=name, reasons=tuple(why)) for name, why in reasons.items() if why),
        nearness=nearness,
        rows=tuple(rows),
        overlaps=tuple(overlaps),
    )
    return certificate.model_copy(update={"seal": certificate.digest()})


def _reasons(task: Task, tested: Sequence[Task], clusters: Sequence[str], suite: Suite) -> list[Reason]:
    """Why `task` must not be trained on; none when it may."""
    found = [
        Reason(kind="held_out", text=f"belongs to the held-out cluster {cluster}")
        for cluster in task.clusters
        if cluster in clusters
    ]
    for cluster in task.clusters:
        names = [other.name for other in tested if cluster in other.clusters and cluster not in clusters]
        if names and task.name not in names:
            text = f"shares the cluster {cluster} with the held-out {', '.join(names)}"
            found.append(Reason(kind="shared_cluster", text=text))
    seen = {cluster: None for other in tested for cluster in other.clusters}
    for pair in suite.exclusions:
        for own, other in (pair, pair[::-1]):
            if own in task.clusters and other in seen and task not in tested:
                text = f"belongs to {own}, declared excluded with {other}"
                found.append(Reason(kind="excluded", text=text))
    if task not in tested:
        found += _shared_sources(task, tested, declared=any(t.sources for t in suite.tasks.values()))
    if not found and TRAIN not in task.split_names():
        found.append(Reason(kind="no_training_rows", text=f"has no split {TRAIN!r}; for evaluation only"))
    return found


def _shared_sources(task: Task, tested: Sequence[Task], declared: bool) -> list[Reason]:
    """Corpora that `task` shares with held-out tasks; their origins stand for them where a suite declares none."""

    def sources(one: Task) -> dict[str, str]:
        return {name.casefold(): name for name in (one.sources if declared else filter(None, [one.origin]))}

    found = []
    for key, name in sources(task).items():
        names = [other.name for other in tested if key in sources(other)]
        if names:
            what = "texts from" if declared else "the same origin,"
            found.append(Reason(kind="shared_source", text=f"{what} {name}, as in the held-out {', '.join(names)}"))
    return found


def _compare(tested: Sequence[Task], trained: Sequence[Task], nearness: Nearness) -> tuple[list[Rows], list[Overlap]]:
    """The rows that were compared, and the overlaps among them. Of the training rows one task is in memory at once."""
    rows: list[Rows] = []
    texts: list[tuple[str, ...]] = []
    places: list[tuple[str, str, int]] = []
    for task in tested:
        for split in [name for name in task.split_names() if name != TRAIN] or task.split_names():
            examples = task.examples(split)
            rows.append(_used(task, split, examples))
            texts += [_texts(task, example) for example in examples]
            places += [(task.name, split, row) for row in range(len(examples))]
    index = Index(texts, nearness)
    overlaps = []
    for task in trained:
        examples = task.examples(TRAIN)
        rows.append(_used(task, TRAIN, examples))
        for match in index.near(_texts(task, example) for example in examples):
            name, split, row = places[match.other]
            overlaps.append(
                Overlap(
                    task=task.name,
                    split=TRAIN,
                    row=match.row,
                    held_out_task=name,
                    held_out_split=split,
                    held_out_row=row,
                    estimated=round(match.estimated, 6),
                    exact=round(match.exact, 6),
                )
            )
    return rows, overlaps


def _texts(task: Task, example: Example) -> tuple[str, ...]:
    """What a row is recognised by: its inputs that are not blank, and the options where they are its own."""
    by_row = isinstance(task.output, Choice) and task.output.choices is None
    return tuple(text for text in (*example.inputs, *(example.choices if by_row else ())) if text.strip())


def _used(task: Task, split: str, examples: Sequence[Example]) -> Rows:
    digest = hashlib.sha256()
    for example in examples:
        values = [example.inputs, example.choices, example.target, example.references]
        digest.update(json.dumps(values, ensure_ascii=False).encode() + b"\n")
    return Rows(task=task.name, split=split, rows=len(examples), fingerprint=digest.hexdigest())


def verify(certificate: Certificate, suite: Suite) -> list[str]:
    """What does not hold, one line each: the seal, and every difference from compiling `suite` again.

    Raises UserError when the suite's rows cannot be read.
    """
    found = []
    if certificate.seal != certificate.digest():
        found.append("seal: it does not fit the contents, which were changed after it was made")
    gone = [cluster for cluster in certificate.clusters if cluster not in suite.clusters]
    if gone:
        return [*found, f"clusters: the suite has none called {', '.join(map(repr, gone))}"]
    again = hold_out(suite, certificate.clusters, certificate.nearness)
    stated, computed = _statements(certificate), _statements(again)
    for what in stated | computed:
        if what not in computed:
            found.append(f"{what}: stated, but not so")
        elif what not in stated:
            found.append(f"{what}: not stated, but so: {computed[what]}")
        elif stated[what] != computed[what]:
            found.append(f"{what}: stated is {stated[what]}, but it is {computed[what]}")
    return found


def _statements(certificate: Certificate) -> dict[str, Any]:
    """Everything that can be computed again, each under a name for it."""
    made: dict[str, Any] = {"suite": certificate.suite}
    made |= {f"held-out task {name}": "held out" for name in certificate.held_out}
    made |= {f"training task {name}": "trained on" for name in certificate.trained_on}
    made |= {f"left-out task {e.task}": "; ".join(r.text for r in e.reasons) for e in certificate.left_out}
    made |= {f"{e.split} rows of {e.task}": f"{e.rows:,} with SHA-256 {e.fingerprint}" for e in certificate.rows}
    made |= {
        f"row {e.row} of {e.task}/{e.split}": f"like row {e.held_out_row} of {e.held_out_task}/{e.held_out_split}, "
        f"Jaccard {e.exact:g}, estimated {e.estimated:g}"
        for e in certificate.overlaps
    }
    return made
