"""`python -m multigraft` is the command `multigraft`."""

from __future__ import annotations

from multigraft.cli.main import main

main()
