import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxembed.data.cache
from jaxembed.data import hold_out, load, read_corpus, read_images
from jaxembed.data.cache import cached, mapped_file, reserve, writable_folder
from jaxembed.data.cooccurrence import count_cooccurrences

TEXT = "a b a\nb a c\n" * 40


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.fixture
def full(monkeypatch):
    """A disk without room for any file that is mapped."""

    def refuse(handle, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "posix_fallocate", refuse)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform != "linux", reason="room is taken by posix_fallocate on Linux")
@pytest.mark.parametrize("what", ["corpus", "count matrix", "images", "held-out part"])
def test_a_full_disk_is_one_error_that_leaves_nothing(tmp_path, text, full, what):
    corpus = read_corpus(text, min_count=1)
    before = left(tmp_path / "cache")
    full()
    calls = {
        "corpus": lambda: read_corpus(text, min_count=2),
        "count matrix": lambda: count_cooccurrences(corpus, 2),
        "images": lambda: read_images("fashion-mnist-small", split="test", max_images=5),
        "held-out part": lambda: hold_out(corpus, 0.1),
    }
    with pytest.raises(OSError, match=r"no room for the .* in .*cache.* \(No space left on device\): .*JAXEMBED_CACHE"):
        calls[what]()
    parts = [path for path in left(tmp_path / "cache") if "datasets" not in path.parts]  # the library's own
    assert parts == before
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs in a namespace of its own")
def test_a_disk_that_is_really_full(tmp_path):
    """The process ended with SIGBUS: a map of a file that is longer than the disk has room for."""
    rng = np.random.default_rng(0)
    words = [f"word{i:040}" for i in range(50)]
    (tmp_path / "text.txt").write_text("\n".join(" ".join(rng.choice(words, 20)) for _ in range(5000)))
    (tmp_path / "disk").mkdir()
    code = "import sys; from jaxembed.data import read_corpus; read_corpus(sys.argv[1])"
    script = 'mount -t tmpfs -o size=600k tmpfs "$1" || exit 77; "$2" -c "$3" "$4"; echo "status $?"; find "$1" -type f'
    run = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path / "disk"), sys.executable, code]
    run += [str(tmp_path / "text.txt")]
    environment = os.environ | {"JAXEMBED_CACHE": str(tmp_path / "disk" / "cache")}
    try:
        done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=100)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "status" not in done.stdout:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()[-80:]}")
    assert done.stdout == "status 1\n"  # and no file
    assert "no room for the corpus in" in done.stderr.splitlines()[-1]


def test_a_file_is_reserved_where_the_system_cannot_do_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "other")
    array = mapped_file(tmp_path / "array.npy", np.int32, (1000, 700))
    assert os.stat(tmp_path / "array.npy").st_blocks * 512 >= array.nbytes
    assert not array.any()
    array[5] = 7
    array.flush()
    with open(tmp_path / "array.npy", "r+b") as file:
        reserve(file)  # what is there stays
    assert np.load(tmp_path / "array.npy").sum() == 7 * 700


@pytest.mark.parametrize("kind", ["a file in the way", "read-only"])
def test_a_cache_that_cannot_be_written_is_replaced_for_this_process(tmp_path, text, monkeypatch, kind):
    whole = read_corpus(text, min_count=2).fingerprint
    if kind == "read-only":
        access = os.access  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: "cache" not in str(path) and access(path, mode))
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "file" / "cache"))
    before = left(tmp_path)
    with pytest.warns(UserWarning, match=r"cache folder .*cache cannot be written \(.*JAXEMBED_CACHE"):
        corpus = read_corpus(text, min_count=1)
    assert isinstance(corpus.tokens, np.memmap)
    assert read_corpus(text, min_count=2).fingerprint == whole  # read-only: it is still read; and no other warning
    assert len(load("word-similarity", "rg65")) == 65
    monkeypatch.setattr("jaxembed.data.text.build", None)  # what was made stays until the process ends
    assert read_corpus(text, min_count=1).fingerprint == corpus.fingerprint
    assert left(tmp_path) == before


def test_the_replacement_goes_with_the_process(tmp_path):
    (tmp_path / "file").write_text("")
    code = "import warnings; warnings.simplefilter('ignore'); from jaxembed.data.cache import writable_folder; "
    code += "print(writable_folder('corpora'))"
    environment = os.environ | {"JAXEMBED_CACHE": str(tmp_path / "file" / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert not Path(done.stdout.strip()).parent.exists()
    assert not done.stderr


def test_what_may_not_be_read_is_no_damage(tmp_path):
    build = lambda folder: (folder / "one").write_text("1")
    assert cached("things/one", lambda folder: (folder / "one").read_text(), build, "thing") == "1"

    def refused(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with pytest.raises(PermissionError):
        cached("things/one", refused, build, "thing")
    assert (writable_folder("things") / "one" / "one").read_text() == "1"
    assert jaxembed.data.cache.cache_folder() == tmp_path / "cache"


@pytest.mark.parametrize("way", ["cache", "file/cache"])
def test_programs_are_kept_where_that_is_possible(tmp_path, way):
    (tmp_path / "file").write_text("")
    code = "import jax; from jaxembed.training import host; host.start(); print(jax.config.jax_compilation_cache_dir)"
    environment = os.environ | {"JAXEMBED_CACHE": str(tmp_path / way)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (str(tmp_path / way / "programs") if way == "cache" else "None")
