"""The audit log's arithmetic, against the vectors that Certificate Transparency published with RFC 6962."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.audit.checkpoints import Checkpoint, check, sign
from heedful.audit.entries import canonical
from heedful.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from heedful.audit.verification import Entry, Outcome, verify
from heedful.errors import Corrupt, InvalidInput, Misconfigured

DATA = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = [leaf_hash(data) for data in DATA]
ROOTS = [  # of the trees of 0 to 8 leaves
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size): proof
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (earlier, later): proof
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

KEY = b"sixteen bytes or more"
KEYS = {"first": KEY}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_log(size: int) -> list[Entry]:
    stored = [canonical({"act": "release", "n": n}) for n in range(size)]
    return [(index, data, leaf_hash(data)) for index, data in enumerate(stored)]


def make_checkpoint(log: list[Entry], size: int | None = None) -> Checkpoint:
    return sign(frontier(leaf for _, _, leaf in log[:size]), at=NOON, key_id="first", key=KEY)


def recursive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, written as the RFC writes it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_rfc(size: int) -> None:
    assert root(LEAVES[:size]).hex() == ROOTS[size]
    assert size or root([]) == EMPTY_ROOT


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_rfc(index: int, size: int) -> None:
    proof = inclusion_proof(LEAVES[:size], index, size)
    assert [step.hex() for step in proof] == INCLUSION[index, size]


@pytest.mark.parametrize(("earlier", "later"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_rfc(earlier: int, later: int) -> None:
    proof = consistency_proof(LEAVES[:later], earlier, later)
    assert [step.hex() for step in proof] == CONSISTENCY[earlier, later]


def test_the_frontier_gives_the_recursive_definition_at_every_size() -> None:
    leaves, tree = [leaf_hash(bytes([n])) for n in range(70)], Frontier()
    for size, leaf in enumerate(leaves):
        assert tree.root() == recursive_root(leaves[:size])
        tree = Frontier.from_json(tree.append(leaf).to_json())  # as if the process had restarted
    assert len(tree.peaks) == 3  # 70 = 64 + 4 + 2


def test_every_proof_of_every_small_tree_holds_and_a_changed_one_does_not() -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(20)]
    for size in range(1, 21):
        whole = root(leaves[:size])
        for index in range(size):
            proof = inclusion_proof(iter(leaves), index, size)
            assert verify_inclusion(leaves[index], index, size, proof, whole)
            assert not verify_inclusion(leaves[index], size, size, proof, whole)
            assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, whole)
            assert not verify_inclusion(leaves[index], index, size, (*proof, whole), whole)
            if proof:
                assert not verify_inclusion(leaves[index], index ^ 1, size, proof, whole)
                assert not verify_inclusion(leaves[index], index, size, proof[:-1], whole)
        for earlier in range(size + 1):
            begun, proof = root(leaves[:earlier]), consistency_proof(iter(leaves), earlier, size)
            assert verify_consistency(earlier, size, begun, whole, proof)
            assert not verify_consistency(earlier, size, leaf_hash(b"other"), whole, proof)
            assert not verify_consistency(earlier, size, begun, whole, (*proof, whole))
            if 0 < earlier < size:
                assert not verify_consistency(earlier, size, begun, leaf_hash(b"other"), proof)
                assert not verify_consistency(earlier, size, begun, whole, proof[:-1])
                assert not verify_consistency(earlier, size, begun, whole, ())
    assert not verify_consistency(3, 2, root(leaves[:3]), root(leaves[:2]), ())


def test_a_node_cannot_pass_for_an_entry() -> None:
    forged = LEAVES[0] + LEAVES[1]
    assert leaf_hash(forged) != root(LEAVES[:2])


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(InvalidInput, match="leaf 8 is not in a tree of 8"):
        inclusion_proof(LEAVES, 8, 8)
    with pytest.raises(InvalidInput, match="needs 9 leaves"):
        inclusion_proof(LEAVES, 0, 9)
    with pytest.raises(InvalidInput, match="cannot be the beginning"):
        consistency_proof(LEAVES, 3, 2)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"size": 2}', '{"size": 1, "peaks": ["z"]}', '{"size": 3, "peaks": []}']
)
def test_a_damaged_frontier_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt, match="frontier"):
        Frontier.from_json(text)


def test_only_a_leaf_hash_can_be_appended() -> None:
    with pytest.raises(InvalidInput, match="pass leaf_hash"):
        Frontier().append(b"an entry")


def test_equal_entries_have_equal_bytes() -> None:
    assert canonical({"b": [1, None, 0.5], "a": "ü"}) == '{"a":"ü","b":[1,null,0.5]}'.encode()
    assert canonical({"a": "ü", "b": (1, None, 0.5)}) == canonical({"b": [1, None, 0.5], "a": "ü"})


@pytest.mark.parametrize(
    "entry",
    [{"a": {1: "one"}}, {"a": float("nan")}, {"a": [NOON]}, {"a": {1, 2}}, {"a": b"x"}, {"a": "\ud800"}],
)
def test_what_json_cannot_say_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        canonical(entry)


def test_a_checkpoint_holds_in_every_time_zone_and_for_nothing_else() -> None:
    checkpoint = make_checkpoint(make_log(3))
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert check(checkpoint, KEYS)
    assert check(replace(checkpoint, at=elsewhere), KEYS)
    assert not check(checkpoint, {"second": KEY})
    assert not check(checkpoint, {"first": b"another key of ours"})
    assert not check(replace(checkpoint, size=4), KEYS)
    assert not check(replace(checkpoint, root=EMPTY_ROOT), KEYS)
    assert not check(replace(checkpoint, at=NOON + timedelta(microseconds=1)), KEYS)


def test_a_checkpoint_needs_a_real_key_and_a_time_zone() -> None:
    with pytest.raises(Misconfigured, match="'first' has 5 bytes"):
        sign(Frontier(), at=NOON, key_id="first", key=b"short")
    with pytest.raises(InvalidInput, match="time zone"):
        sign(Frontier(), at=NOON.replace(tzinfo=None), key_id="first", key=KEY)


def test_an_honest_log_is_intact_and_the_finding_says_how_far_signatures_reach() -> None:
    log = make_log(10)
    checkpoints = [make_checkpoint(log, size) for size in (7, 0, 4)]
    finding = verify(iter(log), checkpoints, keys=KEYS)
    assert (finding.intact, finding.read, finding.anchored) == (True, 10, 7)
    assert verify([], [], keys={}).intact


@settings(max_examples=150, deadline=None)
@given(data=st.data(), size=st.integers(1, 24))
def test_a_single_changed_byte_is_found_and_named(data: st.DataObject, size: int) -> None:
    log = make_log(size)
    at = data.draw(st.integers(0, size - 1))
    index, stored, leaf = log[at]
    place = data.draw(st.integers(0, len(stored) - 1))
    other = data.draw(st.integers(1, 255))
    damaged = stored[:place] + bytes([stored[place] ^ other]) + stored[place + 1 :]
    finding = verify([*log[:at], (index, damaged, leaf), *log[at + 1 :]], [make_checkpoint(log)], keys=KEYS)
    assert (finding.outcome, finding.first, finding.last) == (Outcome.CHANGED, at, at)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(2, 24))
def test_a_missing_entry_is_found_and_named(data: st.DataObject, size: int) -> None:
    log = make_log(size)
    at = data.draw(st.integers(0, size - 2))
    gone = data.draw(st.integers(1, size - 1 - at))
    finding = verify([*log[:at], *log[at + gone :]], [make_checkpoint(log)], keys=KEYS)
    assert (finding.outcome, finding.first, finding.last) == (Outcome.MISSING, at, at + gone - 1)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(1, 24))
def test_a_cut_tail_is_found_and_named(data: st.DataObject, size: int) -> None:
    log = make_log(size)
    left = data.draw(st.integers(0, size - 1))
    finding = verify(log[:left], [make_checkpoint(log)], keys=KEYS)
    assert (finding.outcome, finding.first, finding.last) == (Outcome.TRUNCATED, left, size - 1)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(2, 24))
def test_two_swapped_entries_are_found_and_the_first_is_named(data: st.DataObject, size: int) -> None:
    log = make_log(size)
    one, two = sorted(data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)))
    swapped = list(log)
    swapped[one], swapped[two] = log[two], log[one]
    finding = verify(swapped, [make_checkpoint(log)], keys=KEYS)
    assert (finding.outcome, finding.first) == (Outcome.OUT_OF_ORDER, one)


def test_an_entry_that_stands_twice_is_out_of_order() -> None:
    log = make_log(4)
    finding = verify([*log, log[1]], [make_checkpoint(log)], keys=KEYS)
    assert (finding.outcome, finding.first) == (Outcome.OUT_OF_ORDER, 1)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(2, 24))
def test_an_entry_rewritten_with_its_hash_is_placed_between_checkpoints(
    data: st.DataObject, size: int
) -> None:
    log = make_log(size)
    middle = data.draw(st.integers(1, size - 1))
    at = data.draw(st.integers(0, size - 1))
    rewritten = list(log)
    rewritten[at] = (at, b"{}", leaf_hash(b"{}"))
    finding = verify(rewritten, [make_checkpoint(log, middle), make_checkpoint(log)], keys=KEYS)
    stretch = (0, middle - 1) if at < middle else (middle, size - 1)
    assert (finding.outcome, (finding.first, finding.last)) == (Outcome.REWRITTEN, stretch)


def test_a_deleted_entry_is_found_though_the_rest_was_renumbered() -> None:
    log = make_log(6)
    renumbered = [(index, data, leaf) for index, (_, data, leaf) in enumerate([*log[:2], *log[3:], log[5]])]
    assert verify(renumbered, [make_checkpoint(log)], keys=KEYS).outcome is Outcome.REWRITTEN


def test_a_forged_checkpoint_proves_nothing_and_is_reported_after_the_entries() -> None:
    log = make_log(5)
    forged = replace(make_checkpoint(log, 3), size=9)
    finding = verify(log, [forged, make_checkpoint(log, 4)], keys=KEYS)
    assert (finding.outcome, finding.anchored) == (Outcome.FORGED, 4)
    assert verify(log[1:], [forged], keys=KEYS).outcome is Outcome.MISSING


def test_a_long_log_is_verified_from_a_stream() -> None:
    log = make_log(3000)
    checkpoints = [make_checkpoint(log, size) for size in range(500, 3001, 500)]
    assert verify((entry for entry in log), checkpoints, keys=KEYS).anchored == 3000
