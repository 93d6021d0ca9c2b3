"""Which layout a node has."""

from __future__ import annotations

from typing import Any

from snnet.core.site import Site

from .bridged import BridgedLayout
from .layout import Layout
from .local import LocalLayout
from .routed import RoutedLayout


def layout_of(site: Site) -> Layout[Any]:
    """Return how a node connects its VNICs, by its mode and topology."""
    if site.local or site.mesh:
        return LocalLayout(site)
    return RoutedLayout(site) if site.routed else BridgedLayout(site)
