import bz2
import gzip
import io

import pytest
from gensim.models import word2vec
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxembed import LineSentence, PathLineSentences

lines = st.lists(st.text(st.sampled_from("ab\t \r\x0b\x85\xa0é日"), max_size=12), max_size=6)


@settings(max_examples=40, deadline=None)
@given(lines, st.integers(1, 4), st.none() | st.integers(0, 5))
def test_lines_are_those_of_gensim(tmp_path_factory, rows, longest, limit):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes("\n".join(rows).encode())
    theirs = list(word2vec.LineSentence(str(path), longest, limit))
    ours = LineSentence(path, longest, limit)
    assert list(ours) == theirs
    assert list(ours) == theirs  # again
    with open(path, "rb") as file:
        assert list(LineSentence(file, longest, limit)) == theirs
    assert list(LineSentence(io.StringIO("\n".join(rows), newline="\n"), longest, limit)) == theirs


def test_folders_are_those_of_gensim(tmp_path):
    (tmp_path / "b.txt").write_text("one two\nthree\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first line\n\nsecond\n"))
    (tmp_path / "c.txt.bz2").write_bytes(bz2.compress(b"last\nlines\n"))
    for limit in (None, 1):
        theirs = list(word2vec.PathLineSentences(str(tmp_path), limit=limit))
        assert list(PathLineSentences(tmp_path, limit=limit)) == theirs
        one = str(tmp_path / "b.txt")
        assert list(PathLineSentences(one, limit=limit)) == list(word2vec.PathLineSentences(one, limit=limit))
    (tmp_path / "inside").mkdir()
    assert len(PathLineSentences(tmp_path).input_files) == 3


def test_bad_files(tmp_path):
    (tmp_path / "latin.txt").write_bytes("fine\nthe café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt: line 2 is not UTF-8 .*iconv"):
        list(LineSentence(tmp_path / "latin.txt"))
    with pytest.raises(FileNotFoundError, match=r"none.txt"):
        list(LineSentence(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        PathLineSentences(tmp_path / "none")
    with pytest.raises(ValueError, match="max_sentence_length must be at least 1"):
        LineSentence(tmp_path / "latin.txt", max_sentence_length=0)
    (tmp_path / "marked.txt").write_text("first\nsecond\n", encoding="utf-8-sig")
    assert list(LineSentence(tmp_path / "marked.txt")) == [["first"], ["second"]]
