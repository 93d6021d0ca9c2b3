"""What the plugin has promised Docker, in memory and in a store.

A promise is in the store before it is in memory, and in memory before it is answered, so
that a plugin killed at any instruction remembers all that anybody was told.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from snnet.contract import IPAddress, SnnetError, Store, Write

# Holders that are no endpoints: no id has a colon.

OFFERED = ""
"""Of an address that Docker has been given and no endpoint has taken yet."""

RETURNED = ":returned"
"""Of an address whose endpoint is gone, and that Docker has not released yet."""

NETWORK = ":network"
"""Of the addresses that a network has for itself: its gateway and the auxiliary ones."""


class Document(BaseModel, ABC):
    """One promise."""

    model_config = ConfigDict(frozen=True)
    table: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """What it is found by in its table."""


class SubnetDocument(Document):
    """One with an id of its own, about a tenant's subnet."""

    id: str
    tenant_id: str
    subnet_id: str

    @property
    def key(self) -> str:
        return self.id

    @property
    def scope(self) -> tuple[str, str]:
        """The tenant's subnet."""
        return (self.tenant_id, self.subnet_id)


class Pool(SubnetDocument):
    """Addresses that Docker asked to have managed; ``range`` is what containers get.

    Pools of the same tenant and subnet never hand out one address twice.  One that names no
    subnet (both empty) is alone.  ``network_id`` is the network it is known to serve, if any.
    """

    table: ClassVar[str] = "pools"
    subnet: IPv4Network
    range: IPv4Network
    network_id: str = ""
    since: float


class Address(Document):
    """An address that is not free.

    ``holder`` is an endpoint's id, or one of OFFERED, RETURNED and NETWORK, since ``since``
    (Unix time in seconds).  ``owed``: how often it was offered again before Docker had
    released it, so that as many releases are not its holder's.
    """

    table: ClassVar[str] = "addresses"
    pool_id: str
    ip: IPv4Address
    holder: str
    owed: int = 0
    since: float

    @property
    def key(self) -> str:
        return f"{self.pool_id}/{self.ip}"


class Network(SubnetDocument):
    """A network of Docker's, and the tenant's subnet it stands for.

    ``bridge`` is set where its VNICs are somebody else's: they are mapped, never made.
    ``own`` are the addresses it has for itself.  ``deleted``: it goes with its last endpoint.
    """

    table: ClassVar[str] = "networks"
    subnet: IPv4Network
    gateway: IPv4Address | None = None
    own: tuple[IPv4Address, ...] = ()
    bridge: str = ""
    subnet_key: int | None = None
    concentrator_id: str | None = None
    concentrator_ip: IPAddress | None = None
    mtu: int | None = None
    internal: bool = False
    deleted: bool = False


class Endpoint(SubnetDocument):
    """A container's place on a network, and the VNIC that it is.

    ``made``: the VNIC comes and goes with it.  ``joined``: a container has it.  ``since``
    is when that became so, in Unix time (seconds).
    """

    table: ClassVar[str] = "endpoints"
    network_id: str
    vnic_id: str
    ip: IPv4Address
    mac: str
    made: bool
    joined: bool = False
    since: float

    def same_as(self, other: Endpoint) -> bool:
        """Whether it is the same but for what has become of it since."""
        return self.model_copy(update={"joined": other.joined, "since": other.since}) == other

    @property
    def place(self) -> tuple[str, str, IPv4Address]:
        """What no two endpoints have alike."""
        return (*self.scope, self.ip)


R = TypeVar("R", bound=Document)


class Table(Generic[R]):
    """The documents of one kind; reading needs no lock."""

    def __init__(self, kind: type[R], store: Store) -> None:
        self.kind = kind
        self._records: dict[str, R] = {}
        for key, document in store.read(kind.table).items():
            try:
                self._records[key] = kind.model_validate(document)
            except ValidationError as error:
                raise SnnetError(
                    f"the store's {kind.table} hold {key!r}, which cannot be read: "
                    f"{describe(error)}; restore the store, or remove it with Docker's networks"
                ) from error

    def get(self, key: str) -> R | None:
        return self._records.get(key)

    def all(self) -> list[R]:
        return list(self._records.values())

    def put(self, key: str, document: R | None) -> None:
        """Know what is in the store now."""
        if document is None:
            self._records.pop(key, None)
        else:
            self._records[key] = document


class State:
    """All promises.  Whoever changes some because of what others say holds ``lock``."""

    def __init__(self, store: Store) -> None:
        self.lock = threading.RLock()
        self._store = store
        self.pools = Table(Pool, store)
        self.addresses = Table(Address, store)
        self.networks = Table(Network, store)
        self.endpoints = Table(Endpoint, store)
        self._tables: dict[str, Table[Document]] = {
            table.kind.table: table  # type: ignore[misc]
            for table in (self.pools, self.addresses, self.networks, self.endpoints)
        }

    def write(self, *put: Document, remove: Iterable[Document] = ()) -> None:
        """Put documents in the place of those with their keys, and remove others: all or none."""
        changes: list[tuple[Document, Document | None]] = [(document, None) for document in remove]
        changes += [(document, document) for document in put]
        if not changes:
            return
        with self.lock:
            self._store.write(
                [
                    Write(old.table, old.key, new.model_dump(mode="json") if new else None)
                    for old, new in changes
                ]
            )
            for old, new in changes:
                self._tables[old.table].put(old.key, new)


def describe(error: ValidationError) -> str:
    """A validation error in one line: which field, and what is wrong with it."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg'].lower()}"
        for item in error.errors(include_url=False, include_input=False)
    )
