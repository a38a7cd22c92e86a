import subprocess
import sys

import pytest

HEAVY = ["datasets", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "tensorboard", "tensorflow", "torch"]
CORE = ["tables", "scores", "objectives", "training.loop", "methods.skipgram", "methods.cbow", "methods.glove"]


@pytest.mark.parametrize("modules", [["jaxembed"], [f"jaxembed.{name}" for name in CORE]], ids=["package", "core"])
def test_importing_drags_in_nothing_heavy(modules):
    code = f"import {', '.join(modules)}, sys; print(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
