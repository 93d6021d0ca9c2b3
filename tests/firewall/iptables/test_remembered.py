"""What the driver remembers of its rules: never longer than until somebody changes a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snnet.contract import Add, ApiError, Key, Noun, Remove, keyed
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.iptables.programs import Programs
from snnet.system.host import RealHost
from snnet.system.process import Completed

from .conftest import OWNER, Shell, World
from .nouns import ALL, BRIDGE, FORWARD, ISOLATION, LINK, MASQUERADE, PORT, PUBLIC, ZONE
from .steps import add, remove
from .test_integrity import named

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.parametrize("world", [pytest.param(World("nft", False), id="nft")]),
]

FORWARD_CHAIN = named("fwd")
Snapshot = Callable[[], dict[Key, Noun]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that were started."""
    names: list[str] = []
    run = Programs._run

    def counted(self: Programs, argv: list[str], **options: object) -> Completed:
        names.append(argv[0])
        return run(self, argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Programs, "_run", counted)
    return names


@pytest.fixture
def fresh(host: RealHost, variant: str, tmp_path: Path) -> Iterator[Snapshot]:
    """What a driver finds that remembers nothing."""
    there = RealHost(host.netns.fd, owner=OWNER, runtime=tmp_path / "run")
    other = IptablesFirewall(there, variant=variant)
    yield other.snapshot
    other.close()
    there.close()


@pytest.mark.parametrize(
    ("noun", "families"),
    [(PORT, ["ebtables", "iptables"]), (FORWARD, ["iptables"]), (PUBLIC, ["iptables"])],
)
def test_a_change_starts_one_program_for_each_family(
    driver: IptablesFirewall, started: list[str], noun: Noun, families: list[str]
) -> None:
    add(driver, *(one for one in ALL if one != noun))
    driver.snapshot()
    programs = [f"{family}-nft-restore" for family in families]
    for change in (add, remove):
        change(driver, noun)  # the first of its kind may add a jump
    for change in (add, remove):
        started.clear()
        change(driver, noun)
        assert started == programs
        started.clear()
        assert (driver.find(noun) is not None) is (change is add)
        assert started == []


def test_rules_are_where_they_belong_in_whatever_order_they_came(
    driver: IptablesFirewall, fresh: Snapshot
) -> None:
    first, last = ALL[::2], ALL[1::2]
    for noun in sorted([*last, *first], key=lambda noun: noun.rank):
        add(driver, noun)
    assert fresh() == keyed(ALL)
    gone = [BRIDGE, ISOLATION, FORWARD, PORT]
    for noun in gone:
        remove(driver, noun)
    assert fresh() == keyed(noun for noun in ALL if noun not in gone)
    add(driver, *gone)
    assert fresh() == keyed(ALL)


def test_a_foreign_change_is_seen_by_the_next_call(
    driver: IptablesFirewall, shell: Shell, fresh: Snapshot
) -> None:
    add(driver, PORT, BRIDGE)
    assert driver.find(BRIDGE) == BRIDGE
    shell("iptables", "-D", FORWARD_CHAIN, "1")
    assert driver.find(BRIDGE) is None
    assert driver.find(PORT) == PORT
    add(driver, BRIDGE)
    assert fresh() == keyed([PORT, BRIDGE])
    shell("ebtables", "-t", "nat", "-F", named("src", "tap1"))
    add(driver, PORT)
    assert fresh() == keyed([PORT, BRIDGE])


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(["-I", FORWARD_CHAIN, "-j", "ACCEPT"], id="one more"),
        pytest.param(["-D", FORWARD_CHAIN, "1"], id="one less"),
        pytest.param(["-F", FORWARD_CHAIN], id="none"),
    ],
)
@pytest.mark.parametrize("adding", [True, False])
def test_a_foreign_change_during_a_change_does_not_move_rules(
    driver: IptablesFirewall,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    fresh: Snapshot,
    foreign: list[str],
    adding: bool,
) -> None:
    other = ISOLATION
    add(driver, ZONE, LINK, BRIDGE, *([] if adding else [other, MASQUERADE]))
    restore = Programs.restore
    left = [foreign]

    def disturbed(self: Programs, family: str, text: str) -> None:
        if left and family == "ip":
            shell("iptables", *left.pop())
        restore(self, family, text)

    monkeypatch.setattr(Programs, "restore", disturbed)
    change = add if adding else remove
    change(driver, *([other, MASQUERADE] if adding else [BRIDGE]))
    rest = [ZONE, LINK, BRIDGE] if adding else [ZONE, LINK]
    assert fresh() == keyed([*rest, other, MASQUERADE])
    assert not left


@pytest.mark.parametrize("late", [False, True])
def test_what_an_interrupt_left_is_read_again(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    add(driver, ZONE, LINK)
    restore = Programs.restore

    def interrupted(self: Programs, family: str, text: str) -> None:
        if late:
            restore(self, family, text)
        if not late or family == "ip":
            raise KeyboardInterrupt

    monkeypatch.setattr(Programs, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        driver.apply([Add(BRIDGE)])
    monkeypatch.undo()
    assert driver.find(BRIDGE) == (BRIDGE if late else None)


def test_a_foreign_change_ahead_of_a_change_is_seen(
    driver: IptablesFirewall, shell: Shell, fresh: Snapshot
) -> None:
    """Somebody takes the jump to our chain away when a call has begun."""
    add(driver, ZONE, LINK, BRIDGE)
    driver.snapshot()
    left = [["-D", "FORWARD", "-j", FORWARD_CHAIN]]

    def disturb() -> None:
        if left:
            shell("iptables", *left.pop())

    driver.apply([Add(MASQUERADE)], check=disturb)
    nouns = [ZONE, LINK, BRIDGE, MASQUERADE]
    found = keyed(one for noun in nouns if (one := driver.find(noun)))
    assert found == fresh()


def test_a_removal_that_was_put_back_mixes_no_numbers_up(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch, fresh: Snapshot
) -> None:
    """Rules for ARP are removed by their numbers, which count as the kernel has them."""
    first, second, third = (replace(ISOLATION, link=f"br{number}") for number in range(3))
    add(driver, first, second)

    def refused(self: Programs, family: str, text: str) -> None:
        raise ApiError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Programs, "restore", refused)
        assert driver.apply([Remove(first)]).done == set()
    add(driver, third)
    remove(driver, first)
    assert fresh() == keyed([second, third])
