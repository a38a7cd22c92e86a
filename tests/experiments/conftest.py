import os

import pytest


@pytest.fixture
def same_cores_afterwards():
    """Benches pin the process to some cores; the tests after them have all again."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if cores:
        os.sched_setaffinity(0, cores)
