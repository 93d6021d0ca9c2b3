"""Kinds of link in the words of ``ip``, and as its JSON shows them: a module each."""

from __future__ import annotations

from snnet.backends.kinds import kinds_in
from snnet.contract import Link

from ..codec import Codec

CODECS: dict[type[Link], Codec] = {codec.noun: codec for codec in kinds_in(__name__)}
"""How each kind of link is said and read."""
