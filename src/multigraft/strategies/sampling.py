"""The sampler of a run, from its rows and its settings."""

from __future__ import annotations

from collections.abc import Mapping

from multigraft.mixing.sampler import Sampler
from multigraft.mixing.schedule import Schedule
from multigraft.training.objective import Rows
from multigraft.training.settings import TrainingSettings


def sampler_of(
    rows: Mapping[str, Rows],
    schedule: Schedule,
    training: TrainingSettings,
    seed: int,
    of: Mapping[str, str] | None = None,
) -> Sampler:
    """What draws the training rows of every task by name; `of` as in `Sampler`. Raises UserError as it does."""
    sizes = {name: len(mine) for name, mine in rows.items()}
    steps = training.steps_for(sum(sizes.values()), len(sizes))
    return Sampler(
        sizes,
        {name: mine.lengths.tolist() for name, mine in rows.items()},
        schedule,
        batch_size=training.batch_size,
        steps=steps,
        epochs=min(training.epochs, steps),
        mode=training.batches,
        seed=seed,
        of=of,
    )
