"""What a run tells while it trains: a progress bar, JSON lines, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from multigraft.files import write_text


class Monitor:
    """Collects the learning curve of one run and shows it.

    `folder/log.jsonl` gets a line for every `every` steps and for every scored epoch; `folder/tensorboard` the
    same where the package is installed. On resuming, lines of steps that will be repeated are dropped first.
    """

    def __init__(self, folder: Path, label: str, *, quiet: bool = False, every: int = 10) -> None:
        self.folder, self.label, self.quiet, self.every = folder, label, quiet, every
        self._lines: list[dict[str, Any]] = []
        self.losses: list[float] = []  # of the steps that no line tells of yet
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._board: Any = None

    def __enter__(self) -> Monitor:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._board is not None:
            self._board.close()

    def begin(self, step: int, steps: int, losses: Sequence[float] = ()) -> None:
        """Start, or resume after `step` steps; `losses` as they were then."""
        path = self.folder / "log.jsonl"
        if step and path.exists():
            # A line that a crash has cut off has no end, and belongs to a step that will be repeated.
            whole = path.read_text(encoding="utf-8").split("\n")[:-1]
            self._lines = [line for line in map(json.loads, whole) if line["step"] <= step]
        self.losses = list(losses)
        write_text(path, "".join(json.dumps(line) + "\n" for line in self._lines))
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._bar = self._progress.add_task(self.label, total=steps, completed=step, note="")
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        except ImportError:
            self._board = None

    def on_step(self, step: int, loss: float, factor: float) -> None:
        """After a step: its loss and the share of the learning rate."""
        self.losses.append(loss)
        self._progress.update(self._bar, completed=step)
        if step % self.every == 0:
            mean = sum(self.losses) / len(self.losses)
            self.losses.clear()
            self._write({"step": step, "train_loss": mean, "learning_rate": factor})

    def on_scores(self, step: int, scores: Mapping[str, float], average: float, best: bool) -> None:
        """After an epoch: dev score of each task and their average, in per cent."""
        self._progress.update(self._bar, note=f"dev {average:.1f}{' best' if best else ''}")
        self._write({"step": step, "dev": dict(scores), "dev_average": average, "best": best})

    def note(self, line: str) -> None:
        """Say something beside the progress bar."""
        if not self.quiet:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            flat = {key: value for key, value in line.items() if isinstance(value, float)}
            flat |= {f"dev/{task}": value for task, value in line.get("dev", {}).items()}
            for key, value in flat.items():
                self._board.add_scalar(key, value, line["step"])

    def curve(self) -> dict[str, list[float]]:
        """The learning curve: step, train_loss, dev_step and dev_average, as lists."""
        losses = [line for line in self._lines if "train_loss" in line]
        dev = [line for line in self._lines if "dev_average" in line]
        return {
            "step": [line["step"] for line in losses],
            "train_loss": [line["train_loss"] for line in losses],
            "dev_step": [line["step"] for line in dev],
            "dev_average": [line["dev_average"] for line in dev],
        }
