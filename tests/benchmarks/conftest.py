"""Benchmarks run with all cores, unlike the tests."""

import os
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def all_cores() -> Iterator[None]:
    """BLAS and OpenMP on every core, as a user would have them."""
    with threadpool_limits(limits=os.cpu_count()):
        yield
