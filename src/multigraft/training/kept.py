"""Hidden states kept between epochs: on a frozen backbone, what lies below the first module runs once for each row.

A frozen backbone computes without dropout, so its states do not vary.
"""

from __future__ import annotations

import math
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multigraft.methods.below import Below
from multigraft.methods.shared import SharedModel
from multigraft.mixing.sampler import Sampler
from multigraft.training.objective import Objective
from multigraft.training.precision import computing_in

MEMORY_SHARE = 0.25  # of the device's memory, or the machine's, for kept states; beyond it they are in a file
DISK_SHARE = 0.5  # of what is free where that file would be; beyond it nothing is kept
LEAST_DRAWS = 2  # of each row, on average: else nothing is won
POSITIONS = 1 << 13  # with padding, that run at once when states are computed


def keep_states(
    model: SharedModel, objective: Objective, sampler: Sampler, precision: str, device: torch.device, folder: Path
) -> KeptStates | None:
    """The states of all rows that the sampler draws from, computed here and now; a file for them is in `folder`.

    None where the backbone is tuned, where a module sits in the first layer, where a layer hands on more than hidden
    states (T5's, whose encoder is kept as a whole only), where rows come less than `LEAST_DRAWS` times, where there
    is no room, and where the run is over.
    """
    first = model.bank.method.first_layer(model.backbone)
    owners = list({id(rows): t for t, rows in enumerate(objective.data)}.values())
    drawn = sampler.planned().sum()
    if model.tuned or not first or drawn < LEAST_DRAWS * sum(len(objective.data[t]) for t in owners):
        return None
    if sampler.step == len(sampler):
        return None
    model.backbone.model.eval()  # as in training, where it is frozen
    below, one = Below(model.backbone, first), np.zeros(1, dtype=np.int64)
    with computing_in(precision, device):
        reads = {name: value.to(device) for name, value in objective.reads(one * owners[0], one).items()}
        if not below.splits(reads):
            return None
        kind = below.states(reads)
        tokens = {t: objective.read_tokens(*_all_rows(objective, t)) for t in owners}
        values = _room(sum(int(n.sum()) for n in tokens.values()), kind, folder)
        return None if values is None else KeptStates(below, objective, tokens, values, device)


class KeptStates:
    """The states of n rows, one row behind the other without padding.

    tokens: of each row that the first stack of layers reads, by the task whose rows they are, in the order of the
    objective's data; tasks with the same rows share them. values: tokens D.
    """

    def __init__(
        self, below: Below, objective: Objective, tokens: dict[int, np.ndarray], values: Tensor, device: torch.device
    ) -> None:
        self._below, self._values, self._device = below, values, device
        ends = np.cumsum(np.concatenate(list(tokens.values())))
        cuts = np.cumsum([len(n) for n in tokens.values()])[:-1]
        places = dict(
            zip((id(objective.data[t]) for t in tokens), zip(tokens.values(), np.split(ends, cuts), strict=True))
        )
        self._places = [places[id(rows)] for rows in objective.data]
        for t in tokens:
            self._fill(objective, t)

    def _fill(self, objective: Objective, task: int) -> None:
        """Compute the rows of a task; which come together depends on its rows alone, so that a resumed run has them."""
        tasks, rows = _all_rows(objective, task)
        for part in objective.parts(tasks, rows, POSITIONS, 0):
            reads = {name: value.to(self._device) for name, value in objective.reads(tasks[part], rows[part]).items()}
            states = self._below.states(reads)[reads["attention_mask"].bool()]
            self._values[self._flat(tasks[part], rows[part])] = states.to(self._values)

    def known(self, tasks: np.ndarray, rows: np.ndarray, batch: Any) -> AbstractContextManager[None]:
        """Within the block, a forward pass of the batch of rows `rows[b]` of task `tasks[b]` starts from them."""
        order, mask = batch.order.numpy(), batch.reads["attention_mask"].bool()
        place = torch.zeros(mask.shape, dtype=torch.int64)  # padding, which nobody sees, has any token's states
        place[mask] = self._flat(tasks[order], rows[order])
        return self._below.known(self._values[place.to(self._values.device)].to(self._device))

    def _flat(self, tasks: np.ndarray, rows: np.ndarray) -> Tensor:
        """Where the tokens of the rows are, row by row: K, int64."""
        counts, ends = np.array([[a[r] for a in self._places[t]] for t, r in zip(tasks, rows, strict=True)]).T
        return torch.from_numpy(np.repeat(ends - counts.cumsum(), counts) + np.arange(counts.sum()))


def _all_rows(objective: Objective, task: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(objective.data[task]))
    return np.full_like(rows, task), rows


def _room(tokens: int, kind: Tensor, folder: Path) -> Tensor | None:
    """An empty tensor of tokens D for states of a `kind`, B T D, where there is room; None where there is none."""
    shape = (tokens, kind.shape[-1])
    size = math.prod(shape) * kind.element_size()
    if kind.is_cuda and size <= MEMORY_SHARE * torch.cuda.mem_get_info(kind.device)[1]:
        return kind.new_empty(shape)
    if size <= MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        return kind.new_empty(shape, device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    if size > DISK_SHARE * shutil.disk_usage(folder).free:
        return None
    path = folder / "states"
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # now, and not when a page finds no room any more
        return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=kind.dtype).view(shape)
    except (OSError, AttributeError):  # no room, or a system that cannot set it aside
        return None
    finally:
        path.unlink(missing_ok=True)  # the room stays taken as long as the tensor lives, and no longer
