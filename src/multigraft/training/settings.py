"""How a run trains: one record, used by recipes and the command line alike."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from multigraft.mixing.sampler import Mode
from multigraft.settings import Record


class TrainingSettings(Record):
    """Length, batches, optimizer and precision of a run."""

    steps: int | None = Field(None, gt=0, description="optimizer steps; or say `passes`")
    passes: float | None = Field(
        None, gt=0, description="length of the run as passes over all training rows together; or say `steps`"
    )
    epochs: int = Field(
        3, gt=0, description="parts of the run, which schedules count in: after each a checkpoint is kept"
    )
    score_every: int = Field(1, gt=0, description="epochs between dev scores; the last epoch is always scored")
    batch_size: int = Field(32, gt=0, description="rows in a step")
    batches: Mode = Field(
        "one_task",
        description="one_task: a step's rows are of one task; mixed: each row is drawn for itself; "
        "parallel: batch_size rows of every task in each step",
    )
    part_positions: int | None = Field(
        None,
        gt=0,
        description="tokens with padding that run through the backbone at once: a step of more is computed in parts, "
        "rows of like lengths together, which bounds memory; null: no bound",
    )
    max_length: int = Field(128, gt=1, description="tokens of a text; longer ones are cut")
    checkpoint_seconds: float = Field(
        60, ge=0, description="least time between checkpoints, which are written at ends of epochs; 0: at each"
    )
    optimizer: Literal["adamw", "adafactor"] = Field("adamw", description="with state for each expert")
    learning_rate: float = Field(5e-5, gt=0, description="of the backbone")
    module_learning_rate: float = Field(5e-4, gt=0, description="of modules and heads")
    head_learning_rate: float | None = Field(
        None, gt=0, description="of heads; null: the modules', which is too much where a prompt's is 0.3"
    )
    weight_decay: float = Field(0.01, ge=0, description="on matrices, decoupled")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    decay: Literal["linear", "constant"] = Field("linear", description="after the warm-up: down to 0, or not")
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: no limit")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the device has it")
    choose: Literal["best", "last"] = Field(
        "best", description="keep the model of the best epoch by dev average, or the last"
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.steps is None) == (self.passes is None):
            raise ValueError("give either 'steps' or 'passes'")
        return self

    def rows_in_step(self, tasks: int) -> int:
        """Rows of an optimizer step of a run on so many tasks."""
        return self.batch_size * (tasks if self.batches == "parallel" else 1)

    def steps_for(self, rows: int, tasks: int) -> int:
        """Optimizer steps of a run over `rows` training rows of so many tasks."""
        if self.steps is not None:
            return self.steps
        assert self.passes is not None
        return max(1, round(self.passes * rows / self.rows_in_step(tasks)))


def learning_rate_factor(step: int, steps: int, settings: TrainingSettings) -> float:
    """Share of the learning rate at a step (from 0): linear warm-up, then linear decay to 0 or constant."""
    warm = max(1, round(settings.warmup * steps)) if settings.warmup else 0
    if step < warm:
        return (step + 1) / warm
    if settings.decay == "constant":
        return 1.0
    return max(0.0, (steps - step) / max(1, steps - warm))
