"""A packet on its way through one host."""

from __future__ import annotations

from typing import NamedTuple

from .conntrack import Flow
from .frames import Packet
from .trace import Step


class Passage(NamedTuple):
    """The packet as it is now, and what netfilter's hooks know of it (nfctinfo, iif)."""

    packet: Packet
    step: Step
    link: str = ""
    """The link it came by; none if it is the host's own."""
    flow: Flow | None = None
    """Its connection, where there are rules; None for what belongs to none."""
    answers: bool = False
