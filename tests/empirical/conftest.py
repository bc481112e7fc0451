"""What several tests of the engine watch."""

from __future__ import annotations

from typing import Any

import pytest

from empirical.batched import NetworkBatch


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks of each batch that is drawn from now on."""
    sizes: list[int] = []
    draw = NetworkBatch.draw

    def counted(*arguments: Any, seeds: tuple[int, ...], **options: Any) -> NetworkBatch:
        sizes.append(len(seeds))
        return draw(*arguments, seeds=seeds, **options)

    monkeypatch.setattr(NetworkBatch, "draw", counted)
    return sizes
