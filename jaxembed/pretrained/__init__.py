"""Checkpoints of others: where their files are, what their weights are called, and which encoders they are here.

`files.py` finds a checkpoint and reads its tensors, `names.py` is the correspondence of names and layouts in both directions,
`families.py` says it for each family of models, and `parts.py` puts encoders, weights and tokenizer together.
"""

from jaxembed.pretrained.files import Checkpoint, find
from jaxembed.pretrained.parts import Part, Parts, open_parts, opened, tokenizer_for

__all__ = ["Checkpoint", "Part", "Parts", "find", "open_parts", "opened", "tokenizer_for"]
