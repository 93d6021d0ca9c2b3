"""Intermediate functional blocks (drivers/net/ifb.c)."""

from __future__ import annotations

from snnet.contract import Ifb

from ..kind import LinkKind


class IfbKind(LinkKind[Ifb]):
    noun = Ifb


KINDS = (IfbKind(),)
