"""What a masked language model reads: rows in which tokens are hidden, and pairs of pieces of texts (Devlin et al. 2019)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.streams import Marks
from jaxembed.sampling import random


class Hidden(NamedTuple):
    """Rows in which tokens are hidden: ids `[b, l]`; of the hidden ones places, targets and weights, each `[b, m]`."""

    ids: jax.Array
    places: jax.Array
    target: jax.Array
    weight: jax.Array


def hide(
    key: jax.Array, ids: jax.Array, marks: Marks, vocabulary_size: int, share: float, as_mask: float, as_random: float
) -> Hidden:
    """Hides `round(share * tokens)` tokens of each row `[b, l]`, at least one: the mask, another token or itself stands there.

    Ends and padding are not hidden, and padding is no token. Other tokens are any but padding. There are places for the tokens
    that are hidden of a row without padding, so that shapes do not depend on what is drawn; the weight of those that a row does
    not need is 0. Devlin et al. 2019, appendix A.1.
    """
    which, kind, other = jax.random.split(key, 3)
    apart = jnp.isin(ids, jnp.asarray(marks.apart))
    drawn = jnp.where(apart, -1.0, random.uniform(which, ids.shape))
    counts = np.array([max(1, round(share * tokens)) for tokens in range(ids.shape[1] + 1)])
    most = jnp.asarray(counts)[jnp.count_nonzero(ids, axis=1)]
    found, places = jax.lax.top_k(drawn, int(counts[-1]))
    target = jnp.take_along_axis(ids, places, axis=1)
    turn = random.uniform(kind, places.shape)
    words = 1 + (random.bits(other, places.shape) % jnp.uint32(vocabulary_size - 1)).astype(jnp.int32)
    shown = jnp.where(turn < as_mask, marks.mask, jnp.where(turn < as_mask + as_random, words, target))
    weight = ((found >= 0) & (jnp.arange(int(counts[-1]))[None] < most[:, None])).astype(jnp.float32)
    shown = jnp.where(weight > 0, shown, target)
    return Hidden(ids.at[jnp.arange(len(ids))[:, None], places].set(shown), places, target, weight)


class Pairs(NamedTuple):
    """Pairs of pieces: ids and segments, each `[b, l]`; whether the second follows the first, int32 `[b]`; weights `[b]`."""

    ids: jax.Array
    segments: jax.Array
    follows: jax.Array
    weight: jax.Array


def paired(follow: jax.Array, ids: jax.Array, others: jax.Array, marks: Marks) -> Pairs:
    """Makes pairs of the two halves of rows: the first token, a piece, the last token, a piece, the last token, padding.

    follow: bool `[b]`, where the second piece is to be the row's own. ids: `[b, l]`. others: `[b, l]`, the rows whose second
    halves are taken elsewhere. A piece has words of one text only, that which reaches the middle of the row, or begins there: a
    text that ends before is left out, and one that begins later. Where the row's own second half goes on with no text, the other
    is taken, as Devlin et al. 2019 do at the end of a document. A pair with an empty piece has no weight.
    """
    half = max(1, (ids.shape[1] - 3) // 2)

    def pieces(rows):
        words = ~jnp.isin(rows, jnp.asarray(marks.apart))
        text = jnp.zeros_like(rows) if marks.consecutive else jnp.cumsum(rows == marks.cls, axis=1)
        left, right = text[:, half - 1, None], text[:, half, None]
        kept = jnp.where(words & (text == jnp.where(jnp.arange(rows.shape[1]) < half, left, right)), rows, 0)
        return kept[:, :half], kept[:, half : 2 * half], left[:, 0] == right[:, 0]

    some = lambda piece: jnp.any(piece != 0, axis=1)
    (one, own, goes_on), (_, theirs, _) = pieces(ids), pieces(others)
    follows = follow & goes_on & some(one) & some(own)
    two = jnp.where(follows[:, None], own, theirs)
    weight = some(one) & some(two) & (follows | jnp.any(ids != others, axis=1))
    mark = lambda i: jnp.full((len(ids), 1), i, ids.dtype)
    whole = jnp.concatenate([mark(marks.cls), one, mark(marks.sep), two, mark(marks.sep)], axis=1)
    segments = jnp.broadcast_to((jnp.arange(whole.shape[1]) >= half + 2).astype(jnp.int32), whole.shape)
    order = jnp.argsort(whole == 0, axis=1, stable=True)
    room = ((0, 0), (0, max(0, ids.shape[1] - whole.shape[1])))
    tidy = lambda x: jnp.pad(jnp.take_along_axis(x, order, axis=1), room)
    return Pairs(tidy(whole), tidy(segments), follows.astype(jnp.int32), weight.astype(jnp.float32))
