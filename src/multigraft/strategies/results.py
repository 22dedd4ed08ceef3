"""The record that a comparison produces and every report reads: `results.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from multigraft.settings import Record


class Estimate(Record):
    """A figure with its spread over seeds."""

    values: tuple[float, ...]  # one per seed
    mean: float
    stderr: float | None  # standard error over seeds; None with one seed
    interval: tuple[float, float] | None  # 95 %, over evaluation examples (bootstrap) and seeds


class TaskSummary(Record):
    """A task as the scoreboard's columns need it. Scores are in per cent."""

    name: str
    cluster: str
    kind: Literal["choice", "number", "text"]
    metric: str
    train_rows: int
    evaluation_rows: int
    split: str  # the split the scores are taken on
    majority: float | None  # None for texts, and without training rows to learn from
    bag_of_words: float | None  # as well; a model of this task's own training rows, also where others never saw them
    chance: float | None = None  # answers at random; None for texts


class Draws(Record):
    """What the schedule's ledger says of one task in one run."""

    planned: float  # share of rows that the schedule asked for
    drawn: int  # rows drawn
    passes: float  # rows drawn / rows in the training split
    tokens: int  # tokens of data, without padding
    padding: float  # share of positions that are padding
    truncated: float  # share of rows that were cut


class Curve(Record):
    """Learning curve of one seed."""

    seed: int
    step: tuple[int, ...]
    train_loss: tuple[float, ...]
    dev_step: tuple[int, ...]
    dev_average: tuple[float, ...]


class Wordings(Record):
    """Scores of one task in each of its templates, in per cent, means over seeds."""

    by_template: dict[str, float]
    best: float | None  # of the template that is best on dev rows; None without any
    lower_quartile: float
    median: float
    upper_quartile: float


class Clean(Record):
    """Scores of one task on all rows, and on those that no training text gives away, in per cent."""

    rows: int
    overlapping: int
    full: float
    clean: float | None  # None when every row overlaps
    difference: float | None  # clean - full
    interval: tuple[float, float] | None  # 95 %, of the difference


class HeldOut(Record):
    """What the certificate of one model says: see `multigraft.tasks.holdout`."""

    clusters: tuple[str, ...]
    tasks: tuple[str, ...]  # that were tested
    trained_on: tuple[str, ...]  # that could be trained on
    left_out: dict[str, str]  # other tasks that were not, and why
    dropped: dict[str, int]  # training rows taken out, by task, since they nearly repeat a held-out row
    seal: str


class Row(Record):
    """One way of sharing, measured: a row of the scoreboard."""

    id: str
    label: str
    strategy: str  # separate | shared | module | prompt | transfer | expert | instructions | untuned
    method: str | None
    schedule: str
    tuned: bool  # is the backbone trained
    seeds: tuple[int, ...]
    scores: dict[str, Estimate]  # per task, per cent
    average: Estimate
    parameters: int  # all that is needed to answer every task
    trained_parameters: int
    relative: float  # parameters / parameters of one backbone with one head
    train_seconds: float  # mean over seeds
    peak_memory_mb: float
    answer_ms: float  # one text answered for all tasks, median
    ledger: dict[str, Draws]  # of the first seed
    draws: dict[str, tuple[float, ...]]  # per task: share of the rows in each epoch, first seed
    curves: tuple[Curve, ...]
    by_cluster: dict[str, Estimate] = Field(default_factory=dict)  # averages over the tasks of a held-out cluster
    wordings: dict[str, Wordings] = Field(default_factory=dict)  # per task that was asked in words
    clean: dict[str, Clean] = Field(default_factory=dict)  # per task whose rows were looked for in the training texts
    tuning_clusters: int | None = None  # clusters that were trained on
    bound: bool = False  # looks at the scores to choose, which no way to answer can
    heads: bool = False  # are an encoder's heads trained on the frozen backbone, beside what the label says
    learned_from: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # per task: chosen sources, first seed
    series: str | None = None  # rows of one series differ in the clusters they were trained on, and in no setting else


class TaskMap(Record):
    """How alike tasks are, by what was trained for each."""

    tasks: tuple[str, ...]  # N
    what: str  # was compared
    similarity: tuple[tuple[float, ...], ...]  # N x N


class Difference(Record):
    """A paired comparison of two rows on the average score."""

    a: str
    b: str
    difference: float  # a - b, per cent points
    interval: tuple[float, float]  # 95 %, paired bootstrap
    p: float  # two-sided, of this pair by itself
    holm: float  # p adjusted for all pairs of the comparison (Holm 1979)


class TaskDifference(Difference):
    """The same on one task; adjusted for all tasks and ways that are held against one without other tasks."""

    task: str


class Results(Record):
    """Everything a comparison found out."""

    title: str
    suite: str
    backbone: str
    examples: int | None  # cap on training rows per task
    created: str  # ISO date and time, UTC
    machine: dict[str, str]  # processor, cores, memory, device, versions
    settings: dict[str, object]  # the recipe as resolved
    tasks: tuple[TaskSummary, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    by_task: tuple[TaskDifference, ...] = ()  # a shares with other tasks, b does not
    held_out: tuple[HeldOut, ...] = ()
    task_map: TaskMap | None = None
