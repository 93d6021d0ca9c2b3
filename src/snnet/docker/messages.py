"""What Docker sends, by the names of its protocol.

The network driver's messages are those of moby's
``daemon/libnetwork/drivers/remote/api``, the IPAM driver's those of
``daemon/libnetwork/ipams/remote/api``.  Unknown fields are let be, as a newer daemon may
send more; where Go writes null for what is empty, empty is what it becomes here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue


def _none_is_empty(empty: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: empty() if value is None else value)


Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Options = Annotated[dict[str, JsonValue], _none_is_empty(dict), Field(default_factory=dict)]
Strings = Annotated[dict[str, str], _none_is_empty(dict), Field(default_factory=dict)]


class Message(BaseModel):
    """A request's body."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Empty(Message):
    """A request that says nothing."""


class IpamData(Message):
    """One pool of a network, and what Docker took from it for the network itself."""

    AddressSpace: str = ""
    Pool: str = ""
    Gateway: str = ""
    AuxAddresses: Strings


Pools = Annotated[list[IpamData], _none_is_empty(list), Field(default_factory=list)]


class CreateNetwork(Message):
    NetworkID: Id
    Options: Options
    IPv4Data: Pools
    IPv6Data: Pools


class AllocateNetwork(Message):
    NetworkID: Id
    Options: Strings
    IPv4Data: Pools
    IPv6Data: Pools


class GwAllocCheck(Message):
    Options: Options


class OfNetwork(Message):
    """DeleteNetwork, FreeNetwork."""

    NetworkID: Id


class Interface(Message):
    Address: str = ""
    AddressIPv6: str = ""
    MacAddress: str = ""


class CreateEndpoint(Message):
    NetworkID: Id
    EndpointID: Id
    Interface: Annotated[Interface, _none_is_empty(Interface), Field(default_factory=Interface)]
    Options: Options


class OfEndpoint(Message):
    """DeleteEndpoint, EndpointOperInfo, Leave, and both about external connectivity."""

    NetworkID: Id
    EndpointID: Id


class Join(OfEndpoint):
    SandboxKey: str = ""
    Options: Options


class Discovery(Message):
    """DiscoverNew, DiscoverDelete: other Docker hosts, of no interest here."""

    DiscoveryType: int = 0
    DiscoveryData: JsonValue = None


class RequestPool(Message):
    AddressSpace: str = ""
    Pool: str = ""
    SubPool: str = ""
    Options: Strings
    V6: bool = False


class OfPool(Message):
    """ReleasePool."""

    PoolID: Id


class RequestAddress(Message):
    PoolID: Id
    Address: str = ""
    Options: Strings


class ReleaseAddress(Message):
    PoolID: Id
    Address: str
