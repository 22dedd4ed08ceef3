"""Merging what the command line names, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch

from multigraft.errors import UserError
from multigraft.files import new_folder, write_bytes, write_json
from multigraft.library.merging.base import Merge
from multigraft.library.merging.experts import merge_experts
from multigraft.library.merging.files import open_model
from multigraft.library.merging.interference import Interference
from multigraft.library.merging.models import check_output, merge_files
from multigraft.library.merging.sources import read_source
from multigraft.library.merging.tuned import Tuned, merge_tuned
from multigraft.library.parcel import CARD, WEIGHTS, Parcel
from multigraft.settings import Record

FILE = "merge.json"


class Options(Record):
    """What a merge may be given besides the models; see `multigraft merge --help`."""

    base: Path | None = None
    weights: tuple[float, ...] | None = None
    statistics: tuple[Path, ...] | None = None
    rank: int | None = None
    heads: bool = True
    shard: int | None = None  # bytes


class MergeReport(Record):
    """`merge.json` in the folder of a result: how it was made."""

    method: dict[str, Any]  # name and settings
    models: tuple[str, ...]
    weights: tuple[float, ...]  # as the method used them
    interference: Interference | None  # None for full models without a base
    rank: int | None = None  # of a LoRA expert
    error: float | None = None  # of that rank: norm of what it leaves out over that of the exact merge
    errors: dict[str, float] = {}  # noqa: RUF012 - pydantic copies defaults


def merge_sources(merge: Merge, references: Sequence[str], output: Path, options: Options) -> MergeReport:
    """Merge what the references lead to, write the result, and report. Raises UserError for what does not fit."""
    check_output(output)
    count = None if options.statistics is None else len(options.statistics)
    # Whether there is a base is known only with the models.
    merge.check(len(references), weights=options.weights, base=True, statistics=count, score=False)
    sources = [read_source(reference) for reference in references]
    experts = [source for source in sources if isinstance(source, Parcel)]
    tuned = [source for source in sources if isinstance(source, Tuned)]
    paths = [source for source in sources if isinstance(source, Path)]
    kinds = (("an expert", experts), ("a tuned model", tuned), ("a full model in files", paths))
    there = [kind for kind, members in kinds if members]
    if len(there) > 1:
        raise UserError(f"cannot merge {' with '.join(there)}", fix="give models of one kind")
    for option, value, needed in (
        ("--base", options.base, paths),
        ("--rank", options.rank, experts),
        ("--no-heads", None if options.heads else True, experts),
        ("--shard-size", options.shard, [path for path in paths[:1] if path.is_dir()]),
    ):
        if value is not None and not needed:
            raise UserError("has no meaning for these models", where=option, fix="leave it out")
    facts = {"method": {"name": merge.name, **merge.model_dump(mode="json")}, "models": tuple(references)}
    if experts:
        report = _merge_experts(merge, experts, output, options, facts)
    else:
        if tuned:
            merged = merge_tuned(merge, tuned, output, weights=options.weights, statistics=options.statistics)
        else:
            merged = merge_files(
                merge, paths, output, base=options.base, weights=options.weights,
                statistics=options.statistics, shard=options.shard,
            )  # fmt: skip
        report = MergeReport(**facts, weights=merged.weights, interference=merged.interference)
    if output.is_dir():
        write_json(output / FILE, report.model_dump(mode="json"))
    return report


def _merge_experts(
    merge: Merge, experts: Sequence[Parcel], output: Path, options: Options, facts: dict[str, Any]
) -> MergeReport:
    statistics = None if options.statistics is None else [open_model(path) for path in options.statistics]
    found = merge_experts(
        merge, experts, output.name, weights=options.weights, statistics=statistics, rank=options.rank,
        heads=options.heads,
    )  # fmt: skip
    card = found.parcel.card
    with new_folder(output) as folder:
        write_bytes(folder / WEIGHTS, safetensors.torch.save(found.parcel.tensors))
        write_json(folder / CARD, card.model_dump(mode="json"))
    rank = card.method["rank"] if found.errors else None
    return MergeReport(**facts, weights=found.weights, interference=found.interference, rank=rank, error=found.error,
                       errors=found.errors)  # fmt: skip
