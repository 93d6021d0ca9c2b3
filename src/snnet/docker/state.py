"""The plugin's state: what it has promised to Docker, in memory and in a registry.

Every change is committed to the registry first, then to memory, and only then is the request
answered.  So a plugin that is killed at any instruction remembers every promise that it
has made to Docker.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from snnet.contract import (
    COMMIT_MAX,
    Delete,
    IPAddress,
    IPNetwork,
    Put,
    Registry,
    SnnetError,
    Unavailable,
    Write,
)

# Holders of an address that are not endpoint ids; no id has a colon.

OFFERED = ""
"""The address was given to Docker, and no endpoint uses it yet."""

RETURNED = ":returned"
"""The address belonged to a removed endpoint, and Docker has not released it yet."""

NETWORK = ":network"
"""The address belongs to the network itself: its gateway or an auxiliary address."""


class Document(BaseModel, ABC):
    """One document of the registry."""

    model_config = ConfigDict(frozen=True)
    table: ClassVar[str]
    singular: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields with several values, by the names with one value that earlier versions wrote."""

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, data: Any) -> Any:
        """Read what an earlier version wrote."""
        for old, new in cls.singular.items():
            if isinstance(data, dict) and old in data and new not in data:
                data = {**data, new: [] if data[old] is None else [data[old]]}
        return data

    @property
    @abstractmethod
    def key(self) -> str:
        """The document's key in its table."""


class SubnetDocument(Document):
    """A document with an id that belongs to a tenant's subnet."""

    id: str
    tenant_id: str
    subnet_id: str

    @property
    def key(self) -> str:
        return self.id

    @property
    def scope(self) -> tuple[str, str]:
        """The ids of the tenant and the subnet."""
        return (self.tenant_id, self.subnet_id)


class Pool(SubnetDocument):
    """An address pool that Docker requested.

    Containers get addresses from ``range``.  Pools of the same tenant and subnet share
    their addresses and never give out one twice.  A pool without tenant and subnet (both
    empty) shares with none.  ``network_id`` is the network that the pool is known to serve,
    or empty.  ``since`` is the time of the request (Unix time, seconds).  ``last`` is the
    address that was given last; the search for the next one starts after it.
    """

    table: ClassVar[str] = "pools"
    subnet: IPNetwork
    range: IPNetwork
    network_id: str = ""
    since: float
    last: IPAddress | None = None


class Address(Document):
    """An address that is in use.

    ``holder`` is an endpoint's id, or OFFERED, RETURNED or NETWORK; ``since`` is when that
    holder got it (Unix time, seconds).  ``owed`` counts how often the address was offered
    again before Docker released it.  That many release requests belong to earlier holders.
    """

    table: ClassVar[str] = "addresses"
    pool_id: str
    ip: IPAddress
    holder: str
    owed: int = 0
    since: float

    @property
    def key(self) -> str:
        return f"{self.pool_id}/{self.ip}"


class Network(SubnetDocument):
    """A Docker network and the tenant's subnet it is mapped to.

    If ``bridge`` is set, a controller creates the VNICs and the plugin only maps them.
    ``subnets`` has one network, or one of each family; ``gateways`` those that Docker named.
    ``own`` holds the network's gateways and auxiliary addresses.  A network that is
    ``deleted`` is forgotten together with its last endpoint.
    """

    table: ClassVar[str] = "networks"
    singular: ClassVar = MappingProxyType({"subnet": "subnets", "gateway": "gateways"})
    subnets: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress, ...] = ()
    own: tuple[IPAddress, ...] = ()
    bridge: str = ""
    subnet_key: int | None = None
    concentrator_id: str | None = None
    concentrator_ip: IPAddress | None = None
    mtu: int | None = None
    internal: bool = False
    deleted: bool = False
    made: bool = False
    """Whether the plugin created the cluster's network of that name, and deletes it."""


class Endpoint(SubnetDocument):
    """A container's connection to a network, and its VNIC.

    ``made``: the plugin created the VNIC and destroys it with the endpoint.  ``joined``: a
    container uses the endpoint.  ``since`` is when ``joined`` last changed (Unix time,
    seconds).
    """

    table: ClassVar[str] = "endpoints"
    singular: ClassVar = MappingProxyType({"ip": "ips"})
    network_id: str
    vnic_id: str
    ips: tuple[IPAddress, ...]
    mac: str
    made: bool
    joined: bool = False
    since: float

    def same_as(self, other: Endpoint) -> bool:
        """Whether the two are equal, apart from ``joined`` and ``since``."""
        return self.model_copy(update={"joined": other.joined, "since": other.since}) == other

    def shares_with(self, other: Endpoint) -> IPAddress | None:
        """The address of the same subnet that both have, if there is one."""
        if self.scope != other.scope:
            return None
        return next((ip for ip in self.ips if ip in other.ips), None)


R = TypeVar("R", bound=Document)
R_co = TypeVar("R_co", bound=Document, covariant=True)
T = TypeVar("T")


class Table(Generic[R]):
    """All documents of one kind.  Reading needs no lock."""

    def __init__(self, kind: type[R], registry: Registry, prefix: str) -> None:
        self.kind = kind
        self.prefix = f"{prefix}{kind.table}/"
        self._registry = registry
        self._records: dict[str, R] = {}
        self.load()

    def load(self) -> None:
        """Read all documents again."""
        records: dict[str, R] = {}
        for key, entry in self._registry.read(self.prefix).entries.items():
            try:
                records[key.removeprefix(self.prefix)] = self.kind.model_validate(entry.document)
            except ValidationError as error:
                raise SnnetError(
                    f"cannot read the document {key!r} of the registry: {describe(error)}; "
                    "restore the registry, or remove it and all networks of this driver in Docker"
                ) from error
        self._records = records

    def get(self, key: str) -> R | None:
        return self._records.get(key)

    def all(self) -> list[R]:
        return list(self._records.values())

    def put(self, key: str, document: R | None) -> None:
        """Replace a document in memory; None removes it."""
        if document is None:
            self._records.pop(key, None)
        else:
            self._records[key] = document


class Rows(Protocol[R_co]):
    """Documents of one kind, by key."""

    def get(self, key: str) -> R_co | None: ...
    def all(self) -> Sequence[R_co]: ...


class Documents(Protocol):
    """All documents, as they are or as they will be."""

    @property
    def pools(self) -> Rows[Pool]: ...
    @property
    def addresses(self) -> Rows[Address]: ...
    @property
    def networks(self) -> Rows[Network]: ...
    @property
    def endpoints(self) -> Rows[Endpoint]: ...


Changes = Mapping[tuple[str, str], Document | None]
"""Documents by table and key; None removes one."""


class State:
    """All documents.

    A caller that reads documents to decide on a change holds ``lock`` during both.  Nobody
    else writes documents whose keys begin with ``prefix``.
    """

    batch = COMMIT_MAX
    """How many documents one commit changes."""

    def __init__(self, registry: Registry, prefix: str) -> None:
        self.lock = threading.RLock()
        self._doubtful = False
        self._registry = registry
        self.pools = Table(Pool, registry, prefix)
        self.addresses = Table(Address, registry, prefix)
        self.networks = Table(Network, registry, prefix)
        self.endpoints = Table(Endpoint, registry, prefix)
        self._tables: dict[str, Table[Document]] = {
            table.kind.table: table  # type: ignore[misc]
            for table in (self.pools, self.addresses, self.networks, self.endpoints)
        }

    def write(self, *put: Document, remove: Iterable[Document] = ()) -> None:
        """Remove and write documents, all or nothing.  A document replaces that of its key.

        More than ``batch`` take several commits, in this order: put last what tells
        that the others are complete.
        """
        changes: dict[tuple[str, str], Document | None] = {
            (document.table, document.key): None for document in remove
        }
        changes |= {(document.table, document.key): document for document in put}
        with self.lock:
            if self._doubtful:
                self._load()
            for batch in batched(changes.items(), self.batch):
                try:
                    self._commit(dict(batch))
                except Unavailable as error:
                    self._doubtful |= not error.unwritten
                    raise
                for (table, key), document in batch:
                    self._tables[table].put(key, document)

    def tidy(self) -> None:
        """Repair what follows from the documents elsewhere; here, nothing."""

    def _load(self) -> None:
        """Read everything again: a commit whose answer was lost may have taken effect."""
        for table in self._tables.values():
            table.load()
        self._doubtful = False

    def _commit(self, changes: Changes) -> None:
        self._registry.commit([self._write(*change) for change in changes.items()])

    def _write(self, place: tuple[str, str], document: Document | None) -> Write:
        table, key = place
        path = self._tables[table].prefix + key
        return Delete(path) if document is None else Put(path, document.model_dump(mode="json"))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most ``size``."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def describe(error: ValidationError) -> str:
    """A validation error in one line: each field and what is wrong with it."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg'].lower()}"
        for item in error.errors(include_url=False, include_input=False)
    )
