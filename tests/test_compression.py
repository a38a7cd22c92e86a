"""Compressed vector files, of which Python's own modules are the reference."""

import bz2
import gzip
import lzma

import numpy as np
import pyarrow as pa
import pytest

from jaxembed.compression import compression, reading
from jaxembed.vectors import KeyedVectors, load_vectors

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
UNPACK = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": lambda data: pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(),
}


@pytest.fixture
def words() -> KeyedVectors:
    vectors = np.random.default_rng(0).standard_normal((2000, 20)).astype(np.float32)
    return KeyedVectors([f"w{i}" for i in range(2000)], vectors)


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("options", [{}, {"binary": True}, {"write_header": False}], ids=["text", "binary", "glove"])
def test_what_the_content_says_is_read_and_what_the_name_says_is_written(tmp_path, words, suffix, options):
    words.save_word2vec_format(tmp_path / "plain", **options)
    plain = (tmp_path / "plain").read_bytes()
    (tmp_path / "foreign").write_bytes(PACK[suffix](plain))
    words.save_word2vec_format(tmp_path / f"ours{suffix}", **options)
    assert UNPACK[suffix]((tmp_path / f"ours{suffix}").read_bytes()) == plain
    for name in ("foreign", f"ours{suffix}"):
        read = load_vectors(tmp_path / name)
        assert read.index_to_key == words.index_to_key
        np.testing.assert_array_equal(read.vectors, words.vectors)
        with reading(tmp_path / name) as file:
            assert file.readline() == plain[: plain.index(b"\n") + 1]


@pytest.mark.parametrize("suffix", PACK)
def test_a_file_cut_short_is_told(tmp_path, words, suffix):
    path = tmp_path / f"v{suffix}"
    words.save_word2vec_format(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=r"file is cut short or damaged .*; fetch it again"):
        load_vectors(path)


def test_what_cannot_be_read_packed_is_told(tmp_path, words):
    words.save(tmp_path / "v.safetensors")
    (tmp_path / "v.xz").write_bytes(lzma.compress((tmp_path / "v.safetensors").read_bytes()))
    with pytest.raises(ValueError, match="safetensors inside xz; unpack the file first"):
        load_vectors(tmp_path / "v.xz")
    (tmp_path / "v.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="a zip archive, which may hold several files; unpack it"):
        load_vectors(tmp_path / "v.zip")


def test_words_that_begin_like_an_archive_are_words(tmp_path):
    for word in ("BZh9", "PK", "BZh1AY"):
        KeyedVectors([word, "a"], np.eye(2)).save_word2vec_format(tmp_path / "v", write_header=False)
        assert compression(tmp_path / "v") is None
        assert load_vectors(tmp_path / "v").index_to_key == [word, "a"]
