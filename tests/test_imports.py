import subprocess
import sys

import pytest

HEAVY = ["datasets", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "tensorboard", "tensorflow", "torch"]
CORE = ["tables", "scores", "objectives", "training.loop", "methods.skipgram", "methods.cbow", "methods.glove"]
IMPORTS = {
    "package": "import jaxembed",
    "core": "; ".join(f"import jaxembed.{name}" for name in CORE),
    "models": "import jaxembed.models; from jaxembed import GloVe, Word2Vec",
    "vectors": "import jaxembed.vectors; from jaxembed import KeyedVectors, load_vectors",
    "evaluation": "import jaxembed.evaluation",
    "command line": "import jaxembed.cli.commands",
}


@pytest.mark.parametrize("line", IMPORTS.values(), ids=IMPORTS)
def test_importing_drags_in_nothing_heavy(line):
    code = f"{line}; import sys; print(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_vectors_are_read_without_jax():
    code = f"{IMPORTS['vectors']}; import sys; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_manual_does_not_wait_for_jax():
    code = "import sys; from jaxembed.cli import main; sys.exit(main(['--help']) or 'jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
