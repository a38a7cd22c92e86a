import numpy as np
import pytest


@pytest.fixture(scope="session")
def sentences():
    rng = np.random.default_rng(0)
    return [[f"w{i}" for i in rng.zipf(1.5, 12) if i < 40] for _ in range(60)]
