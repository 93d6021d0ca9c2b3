"""Veth pairs (drivers/net/veth.c)."""

from __future__ import annotations

from snnet.contract import Veth

from ..kind import LinkKind


class VethKind(LinkKind[Veth]):
    noun = Veth


KINDS = (VethKind(),)
