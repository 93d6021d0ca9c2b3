"""Kinds of link as rtnetlink messages, one module for each.

The numbers of attributes are from linux/if_link.h and linux/if_tunnel.h.
"""

from __future__ import annotations

from snnet.backends.kinds import kinds_in
from snnet.contract import Link

from ..codec import Codec

CODECS: dict[type[Link], Codec] = {codec.noun: codec for codec in kinds_in(__name__)}
"""The codec of each kind of link."""
