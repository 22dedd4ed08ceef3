"""Share one pretrained language model among many tasks."""

from __future__ import annotations

__version__ = "0.1.0"
