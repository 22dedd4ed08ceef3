"""When a machine has no memory for a batch."""

from __future__ import annotations

import torch

# What PyTorch says where it has no error of its own for it.
_SAID = ("can't allocate memory", "not enough memory", "out of memory")


def out_of_memory(error: Exception) -> bool:
    """Is it that the device had no room?"""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in _SAID)
