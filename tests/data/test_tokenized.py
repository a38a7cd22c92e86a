"""Token ids as methods take them: which sentences an encoder can tell apart, and which it cannot."""

import numpy as np

from jaxembed.data.images import Images
from jaxembed.data.pairs import ImageTexts, Sentences
from jaxembed.data.tokenized import token_groups, tokenized_images
from jaxembed.data.tokens import train_tokenizer

KNOWN = ["a cafe by the sea", "the long way home", "a dog"]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)
TOKENIZER = train_tokenizer(KNOWN * 3, vocab_size=300, kind="wordpiece", cache=False)


def test_sentences_that_an_encoder_sees_alike_are_one():
    groups = [
        ["a cafe by the sea", "a caf\u00e9 by the sea"],  # accents are dropped
        ["a cafe\u0301 by  the sea"],  # composed in another way, two spaces
        ["the long way home", "the long way home a dog"],  # alike up to max_length
        ["\u4f60", "\u03a9"],  # both unknown to the tokenizer
        ["a dog"],
    ]
    found = token_groups(Sentences.build(groups), TOKENIZER, 6 + 1)
    numbers = found.texts
    assert numbers[0, 0] == numbers[0, 1] == numbers[1, 0]
    assert numbers[3, 0] == numbers[3, 1]
    assert len({numbers[0, 0], numbers[2, 0], numbers[3, 0], numbers[4, 0]}) == 4
    assert (numbers[1, 1], numbers[4, 1]) == (-1, -1)  # no sentence, which is like no other
    cut = token_groups(Sentences.build(groups), TOKENIZER, 6).texts
    assert cut[2, 0] == cut[2, 1]
    assert numbers[2, 0] != numbers[2, 1]
    for i, j in np.ndindex(numbers.shape):  # equal numbers if and only if equal ids
        for k, m in np.ndindex(numbers.shape):
            if numbers[i, j] >= 0 and numbers[k, m] >= 0:
                assert (numbers[i, j] == numbers[k, m]) == np.array_equal(found.ids[i, j], found.ids[k, m])


def test_hard_negatives_are_numbered_with_the_others():
    groups = [["a dog", "the sea"], ["a cafe", "the long way"]]
    found = token_groups(Sentences.build(groups, negatives=["home", "A  DOG"]), TOKENIZER, 8)
    assert found.negative_texts[1] == found.texts[0, 0]
    assert found.negative_texts[0] not in found.texts
    assert token_groups(Sentences.build(groups), TOKENIZER, 8).negative_texts is None


def test_texts_of_pictures_are_numbered_likewise():
    pairs = ImageTexts.build(
        Images(PIXELS[[0, 1, 0, 2, 3]], None, (), "f"), ["caf\u00e9", "cafe", "a dog", "A Dog", "sea"]
    )
    found = tokenized_images(pairs, TOKENIZER, 8)
    assert found.texts.tolist() == [0, 0, 1, 1, 2]
    assert found.pictures.tolist() == [0, 1, 0, 2, 3]
    assert pairs.ids.tolist() == [0, 1, 2, 2, 3]  # a reader tells the first two apart, and judging does so too
