"""Per-token average cosine, of prompts."""

from __future__ import annotations

from typing import ClassVar

from multigraft.library.predictors.average_tokens import AverageTokens


class PerToken(AverageTokens):
    """Mean cosine over all pairs of a token of the source's prompt and one of the target's."""

    name: ClassVar[str] = "per_token"
