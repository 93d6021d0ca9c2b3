"""Kinds of link as words for ``ip`` and as JSON from it, one module for each."""

from __future__ import annotations

from snnet.backends.kinds import kinds_in
from snnet.contract import Link

from ..codec import Codec

CODECS: dict[type[Link], Codec] = {codec.noun: codec for codec in kinds_in(__name__)}
"""The codec of each kind of link."""
