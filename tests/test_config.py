"""What callers hand in: every wrong value is an InvalidRequest that names its field."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnet
from snnet import InvalidRequest, Neighbor, NetworkConfig, NetworkMode, VnicConfig, VnicRole

HUGE = 10**5000
"""Python refuses to print it: an error message must not try."""

NEVER: list[Any] = [
    object(), b"x", bytearray(b"x"), float("nan"), float("inf"), 1.5, 1j, {}, {"a": 1}, {1}, ...,
    Exception, lambda: None, HUGE, -HUGE, [HUGE],
]  # fmt: skip
"""What no field of any configuration is."""

NO_STRING: list[Any] = [*NEVER, 0, 1, True, False, [], ["x"], ("x",), [None]]

BAD_IDS: list[Any] = [
    *NO_STRING,
    "", " ", "a b", "a\n", "\na", "a\0", "a=b", "a/b", "a:b", "-a", ".a", "_a", "~a", "a" * 65,
    "é", "a\u0660", "\uff21", "a\ud800", ".", "..",
]  # fmt: skip
BAD_ADDRESSES: list[Any] = [
    *NO_STRING,
    167837705, b"\x0a\x01\x00\x09", "", " 10.1.0.9", "10.1.0.9 ", "10.1.0.9\n", "10.1.0",
    "10.1.0.256", "10.1.0.09", "10.1.0.9/24", "0x0a010009", "167837705", "10.1.0.\u0669",
    "10.1.0.-1", "localhost", "::1/128", "1::2::3", "fe80::1%eth0", "fe80::1%a k=vm",
    ip_address("fe80::1%eth0"),
    ip_interface("10.1.0.9/24"), ip_interface("2001:db8::1/64"), ip_network("10.1.0.9/32"),
]  # fmt: skip
BAD_NETWORKS: list[Any] = [
    *NO_STRING,
    167837696, ("10.1.0.0", 24), "", "10.1.0.0", "10.1.0.5/24", "10.1.0.0/33", "10.1.0.0/-1",
    "10.1.0.0/", "/24", "10.1.0.0/24\n", " 10.1.0.0/24", "10.1.0.0/2\u0664", "10.1.0.0/24/24",
    "10.1.0.0/x", "2001:db8::1/64", "2001:db8::/129", "fe80::%eth0/64",
    ip_network("fe80::%eth0/64"),
    ip_address("10.1.0.0"), ip_interface("10.1.0.0/24"),
]  # fmt: skip
BAD_MACS: list[Any] = [
    *NO_STRING,
    "", "02:00:0a:01:00:09\n", "\n02:00:0a:01:00:09", "02:00:0a:01:00", "02:00:0a:01:00:09:01",
    "02-00-0a-01-00-09", "02000a010009", "0200.0a01.0009", "2:0:a:1:0:9", "02:00:0a:01:00:0g",
    "02:00:0a:01:00:0\u0669", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "03:00:00:00:00:00",
    "00:00:00:00:00:00", "02 00 0a 01 00 09",
]  # fmt: skip
NO_INT: list[Any] = [*NEVER, True, False, "", "7", "7\n", "\u0667", 7.0, [], [7], b"7", "0x7"]
BAD_KEYS: list[Any] = [*NO_INT, 0, -1, 2**32, 2**64]
BAD_MTUS: list[Any] = [*NO_INT, 0, -1, 67, 65536, 2**32]
BAD_QUEUES: list[Any] = [*NO_INT, None, 0, -1, 257]
BAD_RATES: list[Any] = [
    *NEVER, True, False, "", "fast", "100mbps", "100 mbit", "-1", "1e9", "1/2", "mbit", 7999, 0, -1,
    7.5, [], b"100mbit", "8kbit\n", "\u0667\u0667\u0667\u0667\u0667", "101gbit",
    10**12, 10**30, 10**5000, "9" * 500,
]  # fmt: skip
BAD_ROLES: list[Any] = [*NO_STRING, None, "", "vm", "TENANT_VM", "tenant-vm\n", NetworkMode.ROUTED]

NO_LISTS: list[Any] = [
    *(value for value in NEVER if not isinstance(value, (set, list, bytearray))),
    None, True, 5, "", "192.0.2.0/24", b"", ip_address("192.0.2.1"), ip_network("192.0.2.0/30"),
    ip_network("2001:db8::/32"),
]  # fmt: skip

BAD_VNIC: dict[str, list[Any]] = {
    "role": BAD_ROLES,
    **dict.fromkeys(
        ("vnic_id", "instance_id", "tenant_id", "subnet_id", "concentrator_id"), BAD_IDS
    ),
    "concentrator_ip": BAD_ADDRESSES,
    "subnet": BAD_NETWORKS,
    "subnet_key": BAD_KEYS,
    "ip": BAD_ADDRESSES,
    "mac": BAD_MACS,
    "mtu": BAD_MTUS,
    "queues": BAD_QUEUES,
    "owner": [*NEVER, True, 1.0, -1, 2**32 - 1, b"root", ["root"]],
    "extra_addresses": [
        *NO_LISTS,
        [None],
        ["10.1.0.5/24"],
        ["10.1.0.8", 5],
        ["fe80::%e/64"],
        [b"1234"],
        ["a"],
        [ip_interface("192.0.2.1/24")],
    ],
    "anti_spoofing": [0, 1, "yes", "true", []],
    "rate_to_guest": BAD_RATES,
    "rate_from_guest": BAD_RATES,
    "groups": [*NO_LISTS, [None], ["a b"], [""], ["x" * 65], [5], ["a", "-a"]],
}
BAD_NEIGHBOR: dict[str, list[Any]] = {
    "physical_ip": [*BAD_ADDRESSES, None],
    "subnet": [*BAD_NETWORKS, None],
    "tunnel_ip": [*BAD_ADDRESSES, None],
    "tunnel_id": [*BAD_KEYS, None],
}
BAD_NETWORK_LISTS: list[Any] = [
    *NO_LISTS, [None], ["192.0.2.1"], ["192.0.2.0/24", "192.0.2.5/24"], [["192.0.2.0/24"]], [5],
    [""], bytearray(b"x"), ["fe80::%e/64"],
]  # fmt: skip
BAD_ADDRESS_LISTS: list[Any] = [
    *NO_LISTS, [None], ["192.0.2.0/24"], ["192.0.2.1", 5],
    [ip_interface("192.0.2.1/24")], [b"1234"],
]  # fmt: skip
BAD_DOMAINS: list[Any] = [
    *NO_STRING,
    "", ".", "a.", ".a", "a..b", "-a", "a-", "A.example", "a_b", "a b", "a.example\n", "é.example",
    "a" * 64, "a." + "b" * 64, ".".join(["a" * 63] * 4), "a\u0661",
]  # fmt: skip
BAD_CONFIG: dict[str, list[Any]] = {
    "compute_nets": BAD_NETWORK_LISTS,
    "management_nets": BAD_NETWORK_LISTS,
    "allow_to_nets": BAD_NETWORK_LISTS,
    "mode": [*NO_STRING, None, "", "ROUTED", "gre", "gre_tunnel\n", VnicRole.TENANT_VM],
    "topology": [*NO_STRING, None, "", "LOCAL", "star", "hub\n"],
    "concentrator_pool": BAD_ADDRESS_LISTS,
    "tunnel": [*NO_STRING, None, "", "GRE", "gre\n", "ipip", "gre_tunnel"],
    "mtu": BAD_MTUS,
    "macvtap_mode": [*NO_STRING, None, "", "private", "Bridge", "bridge\n"],
    "floating_pool": BAD_ADDRESS_LISTS,
    "public_gateway": BAD_ADDRESSES,
    "dhcp_reserved": [*NO_INT, None, -1, 65537],
    "anti_spoofing": [None, 0, 1, "yes", "true", []],
    "dns": [None, 0, 1, "yes", "true", []],
    "node_number": [-1, 16384, 1.0, True, "7", []],
    "mesh_port": [0, 65536, 8473.0, True, "8473", None],
    "domain_name": BAD_DOMAINS,
}
GOOD_NEIGHBOR: dict[str, Any] = {
    "physical_ip": "192.0.2.11",
    "subnet": "10.1.0.0/24",
    "tunnel_ip": "10.255.0.11",
    "tunnel_id": 5,
}


def refused(kind: type, name: str, values: list[Any], **rest: Any) -> None:
    """Every value is refused by the field's name and by nothing else than InvalidRequest."""
    for position, value in enumerate(values):
        error = error_of(kind, **{**rest, name: value})
        assert error is not None, f"value {position} of {name} was taken: {str(value)[:80]!r}"
        assert error.field is not None
        assert error.field.partition("[")[0] == name
        assert str(error).startswith(name)


def error_of(kind: type, **values: Any) -> InvalidRequest | None:
    try:
        kind(**values)
    except InvalidRequest as error:
        return error
    return None


@pytest.mark.parametrize("name", BAD_VNIC)
def test_a_vnic_config_refuses_wrong_values_by_field(name: str) -> None:
    refused(VnicConfig, name, BAD_VNIC[name])


@pytest.mark.parametrize("name", BAD_NEIGHBOR)
def test_a_neighbor_refuses_wrong_values_by_field(name: str) -> None:
    refused(Neighbor, name, BAD_NEIGHBOR[name], **GOOD_NEIGHBOR)


@pytest.mark.parametrize("name", BAD_CONFIG)
def test_a_network_config_refuses_wrong_values_by_field(name: str) -> None:
    refused(NetworkConfig, name, BAD_CONFIG[name])


def test_every_field_is_tried() -> None:
    assert set(BAD_VNIC) == {item.name for item in fields(VnicConfig)}
    assert set(BAD_NEIGHBOR) == {item.name for item in fields(Neighbor)}
    assert set(BAD_CONFIG) == {item.name for item in fields(NetworkConfig)}


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(set(BAD_VNIC) - {"role", "queues"})),
    st.text(max_size=20) | st.integers() | st.floats() | st.booleans() | st.binary(max_size=6),
)
def test_whatever_is_given_is_taken_or_refused_by_name(name: str, value: object) -> None:
    error = error_of(VnicConfig, **{name: value})
    if error is not None:
        assert error.field == name
        return
    made = VnicConfig(**{name: value})  # type: ignore[arg-type]
    assert VnicConfig(**made.to_dict()) == made


# -- VnicConfig --------------------------------------------------------------------------


FULL: dict[str, Any] = {
    "role": VnicRole.TENANT_CONTAINER,
    "vnic_id": "v1",
    "instance_id": "i1",
    "tenant_id": "01234567-89AB-4cde-8f01-23456789abcd",
    "subnet_id": "s.1_x-y",
    "concentrator_id": "cnci-1",
    "concentrator_ip": "2001:DB8::0001",
    "subnet": "10.1.0.0/24",
    "subnet_key": 2**32 - 1,
    "ip": "10.1.0.9",
    "mac": "02:00:0A:01:00:FF",
    "mtu": 1400,
    "queues": 1,
}


def test_every_field_is_optional_and_a_vm_is_the_default() -> None:
    cfg = VnicConfig()
    assert cfg.role is VnicRole.TENANT_VM
    assert cfg.queues == 1
    assert {getattr(cfg, name) for name in set(FULL) - {"role", "queues"}} == {None}


def test_fields_are_given_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        VnicConfig(VnicRole.TENANT_VM)  # type: ignore[call-arg]


def test_values_come_back_normalised() -> None:
    cfg = VnicConfig(**FULL)
    assert cfg.concentrator_ip == IPv6Address("2001:db8::1")
    assert cfg.subnet == IPv4Network("10.1.0.0/24")
    assert cfg.ip == IPv4Address("10.1.0.9")
    assert cfg.mac == "02:00:0a:01:00:ff"
    assert cfg.tenant_id == FULL["tenant_id"]
    assert VnicConfig(role="tenant-container").role is VnicRole.TENANT_CONTAINER  # type: ignore[arg-type]


def test_strings_and_objects_are_the_same() -> None:
    objects = {
        "concentrator_ip": IPv6Address("2001:db8::1"),
        "subnet": IPv4Network("10.1.0.0/24"),
        "ip": IPv4Address("10.1.0.9"),
    }
    one, other = VnicConfig(**FULL), VnicConfig(**FULL | objects)
    assert one == other
    assert hash(one) == hash(other)
    assert one != VnicConfig(**FULL | {"mtu": 1399})


def test_ipv6_is_well_formed_here() -> None:
    cfg = VnicConfig(ip="2001:db8::9", subnet="2001:db8::/64")
    assert cfg.subnet == IPv6Network("2001:db8::/64")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vnic_id", "0"), ("vnic_id", "a" * 64), ("vnic_id", "A..__--"),
        ("subnet_key", 1), ("mtu", 68), ("mtu", 65535), ("queues", 256),
        ("mac", "fe:ff:ff:ff:ff:ff"),
    ],
)  # fmt: skip
def test_limits_are_inside(name: str, value: Any) -> None:
    assert getattr(VnicConfig(**{name: value}), name) == value


def test_a_vnic_config_is_immutable() -> None:
    cfg = VnicConfig(**FULL)
    for name in FULL:
        with pytest.raises(FrozenInstanceError):
            setattr(cfg, name, None)
    with pytest.raises((AttributeError, TypeError)):
        cfg.color = "red"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "cfg", [VnicConfig(), VnicConfig(**FULL), VnicConfig(role=VnicRole.DATA_CENTER, queues=1)]
)
def test_a_vnic_config_goes_through_plain_data_and_back(cfg: VnicConfig) -> None:
    data = cfg.to_dict()
    assert all(type(value) in (str, int) for value in data.values())
    assert VnicConfig(**data) == cfg
    assert pickle.loads(pickle.dumps(cfg)) == copy.deepcopy(cfg) == cfg


# -- NetworkConfig ---------------------------------------------------------------------


def test_the_defaults_are_the_documented_ones() -> None:
    config = NetworkConfig()
    assert (config.compute_nets, config.management_nets, config.floating_pool) == ((), (), ())
    assert config.mode is NetworkMode.GRE_TUNNEL
    assert (config.tunnel, config.macvtap_mode, config.dhcp_reserved) == ("gre", "bridge", 0)
    assert (config.mtu, config.public_gateway, config.domain_name) == (None, None, None)


SETTINGS: dict[str, Any] = {
    "compute_nets": ["192.0.2.0/24", "2001:db8::/64"],
    "management_nets": ["198.51.100.0/24"],
    "mode": "routed",
    "tunnel": "vxlan",
    "mtu": 1400,
    "macvtap_mode": "vepa",
    "floating_pool": ["203.0.113.5", "203.0.113.6"],
    "public_gateway": "203.0.113.1",
    "dhcp_reserved": 10,
    "domain_name": "t1.example",
}


def test_python_objects_and_text_make_the_same_config() -> None:
    config = NetworkConfig(
        compute_nets=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")),
        management_nets=iter(["198.51.100.0/24"]),
        mode=NetworkMode.ROUTED,
        tunnel="vxlan",
        mtu=1400,
        macvtap_mode="vepa",
        floating_pool=[ip_address("203.0.113.5"), "203.0.113.6"],
        public_gateway=ip_address("203.0.113.1"),
        dhcp_reserved=10,
        domain_name="t1.example",
    )
    assert NetworkConfig.from_dict(SETTINGS) == config
    assert hash(NetworkConfig.from_dict(SETTINGS)) == hash(config)


def test_a_network_config_does_not_follow_the_list_it_was_made_of() -> None:
    nets = ["192.0.2.0/24"]
    config = NetworkConfig(compute_nets=nets)
    nets.append("198.51.100.0/24")
    assert config.compute_nets == (IPv4Network("192.0.2.0/24"),)
    with pytest.raises(FrozenInstanceError):
        config.tunnel = "vxlan"  # type: ignore[misc]


def test_the_wrong_element_of_a_list_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        NetworkConfig(compute_nets=["192.0.2.0/24", "x"])
    assert caught.value.field == "compute_nets[1]"


@pytest.mark.parametrize("name", ["a", "a.b", "1.2", "a" * 63 + ".b", "x-1.example"])
def test_domain_names(name: str) -> None:
    assert NetworkConfig(domain_name=name).domain_name == name


@pytest.mark.parametrize("data", [None, 5, "tunnel", [("tunnel", "gre")], ["tunnel"], {"tunnel"}])
def test_settings_are_a_mapping(data: Any) -> None:
    with pytest.raises(InvalidRequest, match="mapping"):
        NetworkConfig.from_dict(data)


@pytest.mark.parametrize("name", ["tunnels", "Tunnel", "", 5, None, ("a",)])
def test_an_unknown_setting_is_refused_and_the_known_ones_listed(name: Any) -> None:
    with pytest.raises(
        InvalidRequest, match="use one of allow_to_nets, anti_spoofing, compute_nets"
    ) as caught:
        NetworkConfig.from_dict({"tunnel": "gre", name: 1})
    assert caught.value.field == str(name)


# -- YAML ------------------------------------------------------------------------------


def yaml_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "snnet.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_yaml_holds_the_same_settings(tmp_path: Path) -> None:
    import json

    path = yaml_file(tmp_path, json.dumps(SETTINGS))  # JSON is YAML
    assert NetworkConfig.from_yaml(path) == NetworkConfig.from_dict(SETTINGS)
    assert NetworkConfig.from_yaml(str(path)) == NetworkConfig.from_dict(SETTINGS)


def test_yaml_as_people_write_it(tmp_path: Path) -> None:
    text = "compute_nets:\n  - 192.0.2.0/24\ntunnel: geneve  # no gre here\nmtu: 1400\n"
    assert NetworkConfig.from_yaml(yaml_file(tmp_path, text)) == NetworkConfig(
        compute_nets=["192.0.2.0/24"], tunnel="geneve", mtu=1400
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "---\n", "null", "gre", "5", "- tunnel\n- gre\n", "[]", "tunnel: [",
        "tunnel: gre\n tunnel: x",
        "\ttunnel: gre", "a: b: c", "--- {}\n--- {}", "!!python/object/apply:os.getpid []",
        "mtu: 2024-13-45", "mtu: " + "9" * 5000, b"\xff\xfe\x00", b"tunnel: \xc3\x28", "? [a]\n: 1",
        "tunnel: &a\n  - *b", "\0",
    ],
)  # fmt: skip
def test_yaml_that_is_no_mapping_of_settings_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = yaml_file(tmp_path, text)
    with pytest.raises(InvalidRequest, match=r"snnet\.yaml|unknown setting"):
        NetworkConfig.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("tunnels: gre", "tunnels"),
        ("5: gre", "5"),
        ("tunnel: ipip", "tunnel"),
        ("mtu: yes", "mtu"),
        ("mtu: '1400'", "mtu"),
        ("mtu: 1400.0", "mtu"),
        ("dhcp_reserved:", "dhcp_reserved"),
        ("compute_nets: 192.0.2.0/24", "compute_nets"),
        ("compute_nets:", "compute_nets"),
        ("compute_nets: [192.0.2.0/24, 2024-01-01]", "compute_nets[1]"),
        ("floating_pool: [203.0.113.0/24]", "floating_pool[0]"),
        ("mode: GRE_TUNNEL", "mode"),
        ("domain_name: 2024-01-01", "domain_name"),
        ("public_gateway: 1.1", "public_gateway"),
    ],
)
def test_a_wrong_value_in_yaml_names_its_field(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        NetworkConfig.from_yaml(yaml_file(tmp_path, text))
    assert caught.value.field == field


@pytest.mark.parametrize("path", ["missing.yaml", ".", "", "a\0b", None, 5.5, ["x"]])
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest) as caught:
        NetworkConfig.from_yaml(path)
    assert caught.value.field == "path"


# -- Neighbor --------------------------------------------------------------------------


def test_a_neighbor_is_normalised_and_immutable() -> None:
    neighbor = Neighbor(**GOOD_NEIGHBOR)
    assert neighbor == snnet.Neighbor(
        physical_ip=IPv4Address("192.0.2.11"),
        subnet=IPv4Network("10.1.0.0/24"),
        tunnel_ip=IPv4Address("10.255.0.11"),
        tunnel_id=5,
    )
    with pytest.raises(FrozenInstanceError):
        neighbor.tunnel_id = 6  # type: ignore[misc]


@pytest.mark.parametrize("name", GOOD_NEIGHBOR)
def test_a_neighbor_needs_all_its_fields(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        Neighbor(**{key: value for key, value in GOOD_NEIGHBOR.items() if key != name})
