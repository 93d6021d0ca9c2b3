"""Docker's requests, with the names of its protocol.

The network driver's messages are those of moby's
``daemon/libnetwork/drivers/remote/api``, the IPAM driver's those of
``daemon/libnetwork/ipams/remote/api``.  Unknown fields are ignored, since a newer daemon may
send more.  Go writes null for empty lists and maps; null is read as empty.
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
    """The body of a request."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Empty(Message):
    """A request without fields."""


class IpamData(Message):
    """A pool of a network, and the addresses that Docker took from it for the network."""

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
    """DeleteEndpoint, EndpointOperInfo, Leave, and the two for external connectivity."""

    NetworkID: Id
    EndpointID: Id


class Join(OfEndpoint):
    SandboxKey: str = ""
    Options: Options


class Discovery(Message):
    """DiscoverNew, DiscoverDelete: other Docker hosts, which the plugin ignores."""

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
