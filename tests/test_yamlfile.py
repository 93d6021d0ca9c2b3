"""YAML files that were written to do harm: refused at little cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from snnet import InvalidRequest, NetworkConfig
from snnet.checks import shown
from snnet.yamlfile import SIZE_MAX, TEXT_MAX, VALUES_MAX, read_yaml

ENOUGH = 32 << 20
"""More bytes than reading any allowed file takes."""


def laughs(levels: int, first: str, item: str = "*{0}") -> str:
    """Each level names the one before ten times."""
    lines = [f"a: &a {first}"]
    for number in range(1, levels):
        before, name = chr(96 + number), chr(97 + number)
        items = ", ".join([item.format(before)] * 10)
        lines.append(f"{name}: &{name} [{items}]")
    return "\n".join(lines)


MERGES = "a: &a {x: 1}\n" + "\n".join(
    f"{chr(97 + n)}: &{chr(97 + n)} {{<<: [{', '.join([f'*{chr(96 + n)}'] * 10)}]}}"
    for n in range(1, 10)
)

BOMBS = {
    "lists in lists": laughs(10, "[lol]"),
    "long words": laughs(8, f"[{'x' * 1000}]"),
    "mappings in lists": laughs(10, "{x: 1}"),
    "merged mappings": MERGES,
    "a setting": laughs(10, "[lol]").replace("a: ", "compute_nets: ", 1) + "\nmode: *j",
    "itself": "a: &a [*a]",
    "a key of itself": "&a {? *a : 1}",
    "braces": "{a: " * 50_000,
    "base 60": "a: " + "1:" * 100_000 + "1",
    "a long number": "a: " + "9" * 200_000,
    "a long word": "a: " + "x" * (TEXT_MAX + 1),
    "many values": "a: [" + "1," * (VALUES_MAX + 1) + "]",
    "a long file": "#" * (SIZE_MAX + 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest) as refused:
            NetworkConfig.from_yaml(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.field == "path"
    assert "bomb.yaml" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert peak < ENOUGH


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    # Not among the bombs above: to trace the memory of these takes 20 seconds.
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 100_000)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        NetworkConfig.from_yaml(path)


def test_a_device_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot read /dev/zero"):
        read_yaml("/dev/zero")


def test_aliases_of_honest_files(tmp_path: Path) -> None:
    path = tmp_path / "honest.yaml"
    path.write_text(
        "compute_nets: &nets [192.0.2.0/24]\nmanagement_nets: *nets\n"
        "<<: {tunnel: vxlan, node_number: 5}\n"
    )
    config = NetworkConfig.from_yaml(path)
    assert config == NetworkConfig(
        compute_nets=["192.0.2.0/24"],
        management_nets=["192.0.2.0/24"],
        tunnel="vxlan",
        node_number=5,
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("mtu: 1400\ntunnel: gre\nmtu: 1300\n", "line 3, column 1 is not YAML: 'mtu'"),
        ("network: {mtu: 1, mode: x, 'mtu': 2}", "line 1, column 28 is not YAML: 'mtu'"),
        ("- a: &a {x: 1, x: 2}\n- *a", "line 1, column 16 is not YAML: 'x'"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, text: str, where: str) -> None:
    """Taking the last one would be a guess."""
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=f"{where} is there twice"):
        read_yaml(path)


def test_a_merged_key_may_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text("base: &base {mtu: 1400}\nnetwork:\n  <<: *base\n  mtu: 1300\n")
    assert read_yaml(path)["network"] == {"mtu": 1300}


def test_many_honest_values(tmp_path: Path) -> None:
    pool = [f"198.51.{a}.{b}" for a in range(16) for b in range(256)]
    path = tmp_path / "pool.yaml"
    path.write_text("floating_pool:\n" + "".join(f"  - {address}\n" for address in pool))
    assert len(tuple(NetworkConfig.from_yaml(path).floating_pool)) == len(pool)


def test_messages_stay_short() -> None:
    """Python's own repr of lists in lists is as long as what they stand for."""
    nested: Any = "lol"
    for _ in range(20):
        nested = [nested] * 10
    with pytest.raises(InvalidRequest) as refused:
        NetworkConfig(compute_nets=nested)
    assert len(str(refused.value)) < 100_000
    for value in ("x" * 10_000, b"x" * 10_000, {n: n for n in range(10_000)}, list(range(10_000))):
        assert len(shown(value)) < 1000
    assert shown("192.0.2.0/33") == "'192.0.2.0/33'"


def test_numbers_are_what_people_take_for_numbers(tmp_path: Path) -> None:
    """To YAML 1.1 a MAC of digits is a number to the base of 60, and 010 is 8."""
    path = tmp_path / "numbers.yaml"
    same = ["52:54:00:12:34:56", "22:33", "007", "-010", "1_000", "0b11", "1:30.5"]
    path.write_text("".join(f"- {text}\n" for text in same))
    assert read_yaml(path) == same
    path.write_text("[0, 7, -7, 0x10, 1.5, -.5, 1.5e3, .inf, true, no, null, ~]")
    assert read_yaml(path) == [
        0, 7, -7, 16, 1.5, -0.5, 1500.0, float("inf"), True, False, None, None
    ]  # fmt: skip
