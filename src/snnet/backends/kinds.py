"""Kinds of link in a backend: one module for each, in the backend's package ``kinds``.

Every module there lists its codecs or rules in ``KINDS``.  A new module needs no
registration; docs/adding-a-tunnel-kind.md says what it contains.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from snnet.contract import Link, Tap, Tunnel

C = TypeVar("C")


def kinds_in(package: str) -> Iterator[Any]:
    """Yield what the modules of the package list in ``KINDS``, in the order of their names."""
    path = importlib.import_module(package).__path__
    for module in sorted(module.name for module in pkgutil.iter_modules(path)):
        yield from importlib.import_module(f"{package}.{module}").KINDS


def by_kernel_kind(codecs: Mapping[type[Link], C]) -> dict[str, C]:
    """Return the codecs by the kernel's name for their kinds ("tun" for a tap)."""
    return {
        kind: codec
        for noun, codec in codecs.items()
        for kind in (("tun",) if noun is Tap else noun.kinds)
    }


def no_kind(link: Link) -> str:
    """Return the message for a kernel without this kind of link: what to load or to choose."""
    other = "gre" if link.kind == "vxlan" else "vxlan"
    remedy = f" or set tunnel {other!r}" if isinstance(link, Tunnel) else ""
    return f"this kernel has no {link.kind}: load {link.module}{remedy}"


NO_SHAPERS = "this kernel has no token bucket filters, which limit rates: load sch_tbf"
NO_REDIRECTS = (
    "this kernel cannot redirect what a link receives, which limits rates from guests: load "
    "sch_ingress, cls_u32 and act_mirred"
)
