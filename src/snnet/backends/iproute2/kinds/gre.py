"""GRE with a key: point to point with Ethernet frames, and multipoint with IP."""

from __future__ import annotations

from ipaddress import IPv4Address

from snnet.contract import Gre, Gretap

from ..codec import Codec, Row, address, ttl


def _gretap_words(link: Gretap) -> list[str]:
    words = ["key", str(link.tunnel_key), "local", str(link.local), "remote", str(link.remote)]
    if link.local.version == 4:
        return [*words, "ttl", str(link.ttl), "pmtudisc"]
    return [*words, "hoplimit", str(link.ttl), "encaplimit", "none"]


def _gre_words(link: Gre) -> list[str]:
    return ["key", str(link.tunnel_key), "local", str(link.local), "ttl", str(link.ttl), "pmtudisc"]


def _read_gretap(row: Row, common: Row, data: Row) -> Gretap | None:
    local, remote = address(data, "local"), address(data, "remote")
    if local is None or remote is None:
        return None
    return Gretap(local=local, remote=remote, tunnel_key=_key(data), ttl=ttl(data), **common)


def _read_gre(row: Row, common: Row, data: Row) -> Gre | None:
    local, remote = address(data, "local"), address(data, "remote")
    if local is None or remote is not None:
        return None
    return Gre(local=local, tunnel_key=_key(data), ttl=ttl(data), **common)


def _key(data: Row) -> int:
    """Return the key, which ``ip`` prints as an address: 0.0.0.7."""
    return int(IPv4Address(data.get("ikey", "0.0.0.0")))


KINDS = (Codec(Gretap, _gretap_words, _read_gretap), Codec(Gre, _gre_words, _read_gre))
