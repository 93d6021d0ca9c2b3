"""URLs of etcd: who its members are, and what a client shows them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qsl, unquote, urlsplit

from snnet.contract import InvalidRequest

PORT = 2379
PASSWORD = "SNNET_ETCD_PASSWORD"
"""The environment variable with the password of the user in the URL."""

_OPTIONS = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says: members, the beginning of all keys, TLS files, the user."""

    members: tuple[tuple[str, int], ...]
    namespace: str
    tls: Mapping[str, str]
    user: str = ""

    @classmethod
    def parse(cls, rest: str) -> Address:
        """Read "//[USER@]HOST[:PORT][,HOST...][/NAMESPACE][?ca=FILE[&cert=FILE&key=FILE]]"."""
        # Not urlsplit: some versions of it refuse a list of hosts with an IPv6 address in it.
        place, _, query = rest.removeprefix("//").partition("?")
        netloc, _, path = place.partition("/")
        if not rest.startswith("//"):
            netloc = ""
        user, _, hosts = netloc.rpartition("@")
        if ":" in user:
            raise InvalidRequest(
                f"put no password into the URL: set it in the environment variable {PASSWORD}",
                field="registry",
            )
        tls = dict(parse_qsl(query, keep_blank_values=True))
        if unknown := sorted(tls.keys() - set(_OPTIONS)):
            raise InvalidRequest(
                f"unknown option {unknown[0]!r} in the URL; there are {', '.join(_OPTIONS)}",
                field="registry",
            )
        for name, needed in (("cert", "ca"), ("key", "cert")):
            if name in tls and needed not in tls:
                raise InvalidRequest(
                    f"{name!r} in the URL needs {needed!r} too: ?ca=FILE&cert=FILE&key=FILE",
                    field="registry",
                )
        members = tuple(_member(host) for host in hosts.split(","))
        namespace = unquote(path).strip("/") or "snnet"
        return cls(members, f"{namespace}/", tls, unquote(user))


def check_files(tls: Mapping[str, str]) -> None:
    """Raise InvalidRequest that names a file of TLS which cannot be used.

    Connections read the files again, so that certificates may be renewed meanwhile.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ca" in tls:
        _use(partial(context.load_verify_locations, tls["ca"]), tls, "ca")
    if "cert" in tls:
        # An empty password: nobody is there to be asked for that of an encrypted key.
        load = partial(context.load_cert_chain, tls["cert"], tls.get("key"), password="")
        _use(load, tls, "cert", "key")


def _use(load: Callable[[], None], tls: Mapping[str, str], *names: str) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        files = " with ".join(f"{name}={tls[name]}" for name in names if name in tls)
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"{files} cannot be used: {reason}", field="registry") from error


def _member(host: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        if parts.hostname and not re.search(r"\s", host):
            return parts.hostname, parts.port or PORT
    except ValueError:
        pass
    raise InvalidRequest(
        f"{host!r} is not HOST:PORT; write etcd://HOST[:PORT],HOST...", field="registry"
    )
