"""VXLAN without learning."""

from __future__ import annotations

from snnet.contract import Vxlan

from ..codec import Codec, Row, address, ttl


def _words(link: Vxlan) -> list[str]:
    far = ["remote", str(link.remote)] if link.remote else []
    return [
        "id", str(link.vni), "local", str(link.local), *far,
        "dstport", str(link.port), "ttl", str(link.ttl), "nolearning",
    ]  # fmt: skip


def _read(row: Row, common: Row, data: Row) -> Vxlan | None:
    local = address(data, "local", "local6")
    if local is None:
        return None
    return Vxlan(
        local=local,
        remote=address(data, "remote", "remote6", "group", "group6"),
        vni=data.get("id", 0),
        port=data.get("port", 0),
        ttl=ttl(data),
        **common,
    )


KINDS = (Codec(Vxlan, _words, _read),)
