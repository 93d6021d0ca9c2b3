"""Bridges; what they do with their ports is in ``bridging.py``."""

from __future__ import annotations

from snnet.contract import Bridge

from ..kind import LinkKind


class BridgeKind(LinkKind[Bridge]):
    noun = Bridge


KINDS = (BridgeKind(),)
