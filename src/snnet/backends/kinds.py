"""Kinds of link in a backend: a module each, in the backend's package ``kinds``.

Every module there lists its codecs or rules in ``KINDS``.  A new module is found
without being registered; docs/adding-a-tunnel-kind.md says what it contains.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from snnet.contract import Link, Tap, Tunnel

C = TypeVar("C")


def kinds_in(package: str) -> Iterator[Any]:
    """What the modules of the package list in ``KINDS``, in the order of their names."""
    path = importlib.import_module(package).__path__
    for module in sorted(module.name for module in pkgutil.iter_modules(path)):
        yield from importlib.import_module(f"{package}.{module}").KINDS


def by_kernel_kind(codecs: Mapping[type[Link], C]) -> dict[str, C]:
    """The codecs by what the kernel calls their kinds (IFLA_INFO_KIND); a tap is a "tun" to it."""
    return {
        kind: codec
        for noun, codec in codecs.items()
        for kind in (("tun",) if noun is Tap else noun.kinds)
    }


def no_kind(link: Link) -> str:
    """The message for a kernel that has no links of this kind: what to load or to choose."""
    other = "gre" if link.kind == "vxlan" else "vxlan"
    remedy = f" or set tunnel {other!r}" if isinstance(link, Tunnel) else ""
    return f"this kernel has no {link.kind}: load {link.module}{remedy}"
