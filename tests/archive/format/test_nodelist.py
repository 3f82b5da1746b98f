"""Node lists: which hosts they have, and what is none."""

import time

import pytest

from archive.exceptions import DocumentError
from archive.format.nodelist import NodeList


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("n[01-16],login1", ["n01", "n16", "login1"], ["n1", "n17", "n00", "n001", "n", "login", "login11", "xn01"]),
        ("n[01-16,20-22,30]", ["n16", "n21", "n30"], ["n17", "n19", "n23", "n31"]),
        ("w11[27-45]", ["w1127", "w1145"], ["w1126", "w27", "w1227", "w11027"]),
        ("n[8-12]", ["n8", "n9", "n10", "n12"], ["n08", "n7", "n13", "n012"]),
        ("n[01-05]-ib", ["n01-ib", "n05-ib"], ["n01", "n06-ib", "n01-ib2"]),
        ("r[1-2]c[01-03]", ["r1c01", "r2c03"], ["r3c01", "r1c04", "r1", "c01"]),
        ("a[0001-9999]", ["a0001", "a9999"], ["a0000", "a00001", "a10000", "a1", "a²001"]),
        ("*", ["anything", "n01"], []),
        ("n1,*", ["anything"], []),
        (" n1 , n2 ", ["n1", "n2"], ["n3", " n1"]),
        ("", [], ["", "n1"]),
        ("n[01-04],,n07,", ["n01", "n04", "n07"], ["", "n05", ","]),
        (" , ,n1", ["n1"], ["", " "]),
        (",", [], [""]),
        ("n[01-04,,07,]", ["n01", "n07"], ["n", "n05"]),
    ],
)
def test_a_node_list_holds_exactly_its_hosts(text: str, inside: list[str], outside: list[str]) -> None:
    nodes = NodeList.parse(text)
    assert [host for host in inside if host not in nodes] == []
    assert [host for host in outside if host in nodes] == []


@pytest.mark.parametrize(
    "text",
    [
        "n[01-16",
        "n01-16]",
        "n[]",
        "n[a-b]",
        "n[16-01]",
        "n[100-20]",
        "a b",
        "a,],b",
        "n[,]",
        "n[1-2",
        "a/b",
        "n[1--2]",
        "n[[1]]",
    ],
)
def test_a_malformed_node_list_is_an_error(text: str) -> None:
    with pytest.raises(DocumentError, match="node list"):
        NodeList.parse(text)


def test_hosts_of_a_node_list_come_in_its_order_and_padded() -> None:
    hosts = list(NodeList.parse("n[08-10,02],login1,r[1-2]c[1-2]").hosts())
    assert hosts == ["n08", "n09", "n10", "n02", "login1", "r1c1", "r1c2", "r2c1", "r2c2"]


@pytest.mark.parametrize("text", ["n[1-3],n2,n[2-4]", "n1,n2,n3,n4,n1", "n[1,1,2-4,3]", "n4,n[1-4]"])
def test_a_node_listed_twice_counts_once(text: str) -> None:
    assert sorted(NodeList.parse(text).hosts()) == ["n1", "n2", "n3", "n4"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("n[08-10,02],login1", "n[08-10,02],login1"),
        (" a[1-2]c[01-04]x , b", "a1c[01-04]x,a2c[01-04]x,b"),
        ("*", "*"),
        ("b,*", "*,b"),
        ("", ""),
    ],
)
def test_a_node_list_can_be_written_again(text: str, written: str) -> None:
    nodes = NodeList.parse(text)
    assert str(nodes) == written
    if not nodes.matches_all:
        assert list(NodeList.parse(written).hosts()) == list(nodes.hosts())


def test_a_list_of_every_host_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="every host"):
        NodeList.parse("*").hosts()


def test_a_long_range_is_not_expanded() -> None:
    nodes = NodeList.parse("a[000000000001-999999999999]")
    assert "a500000000000" in nodes
    with pytest.raises(DocumentError, match="too many"):
        NodeList.parse("a[000001-999999]b[1-2]")


def test_a_lookup_stays_fast_with_many_ranges() -> None:
    nodes = NodeList.parse(",".join(f"n[{start:06d}-{start + 5:06d}]" for start in range(0, 100_000, 10)))
    begin = time.perf_counter()
    for _ in range(10_000):
        assert "n099999" not in nodes
    assert time.perf_counter() - begin < 1.0
