"""The derivation is the key format: known answers, and the promises that the p-value rests on."""

import hashlib
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmark import derivation
from tfmark.derivation import Stream, base_leaf, leaf, merkle_root, subkey

SECRET = bytes(range(32))
LEAVES = [hashlib.sha256(bytes([i])).digest() for i in range(9)]


@pytest.mark.parametrize(
    ("computed", "frozen"),
    [
        (subkey(SECRET, 0), "be7aa536a29818d4f9b420a5601cb8c4e3082882933e7fab59b597327dd3bb40"),
        (subkey(SECRET, 1), "f75358389e16fe8a27ece7a2e2c3f5e73bc59882a04893df343c8ed4f054dcce"),
        (
            subkey(SECRET, 0x01020304),
            "dec6c81e6dae52fcb05dca43c83c833cceec1390f5e32c1add35c0aa8c60c9fc",
        ),
        (subkey(bytes(32), 0), "fa0c40649189a29bbbff24ad6af2d22e448c402838c35bfccc763c57a1c943c7"),
        (
            leaf(0, subkey(SECRET, 0), b"{}"),
            "4b58db409e2d0f62624c412310c27fd3712438f269d10c9646d45dc8aa4f3c55",
        ),
        (
            leaf(300, SECRET, b'{"format":1}'),
            "f5db1649ac14a16678ab2e4236a01395b635ff6a03a283c936ef125dd3c1390e",
        ),
        (base_leaf(0, b""), "215bcfc979b9d207095c8454d63b2ad8f01d812b8185cb2e0dfd4bdb3bdae31d"),
        (
            base_leaf(300, SECRET),
            "4383e50bf8d7b964e92a2572662600d23adbcc712466d28f5833f654bc042ef7",
        ),
        (
            merkle_root(LEAVES[:1]),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        ),
        (
            merkle_root(LEAVES[:2]),
            "1d0ace542b1990ac0d3aedfc295cc8b83996142cb57778bae2e862e6f45b1ec1",
        ),
        (
            merkle_root(LEAVES[:3]),
            "0616d3f5b1769ef159aa7877941c0f455455f914aae44d085c5d9ea42c607f7d",
        ),
        (
            merkle_root(LEAVES[:5]),
            "7cff584761b5e6a9b8157154fc4165f9a549bff3aeaade9a595678511b886c67",
        ),
        (
            Stream(SECRET, b"purpose").read(40),
            "c7487826ef45ca5085bb74ffc66671cf54c364b9b853eb386e6d1078b858b82e0ef9c3ef5f12f6b6",
        ),
    ],
)
def test_known_answers(computed, frozen):
    assert computed.hex() == frozen


def rfc6962_root(leaves):
    """The tree hash of RFC 6962, bottom-up with a stack, not by splitting as the library does."""
    stack = []
    for before, leaf_hash in enumerate(leaves):
        stack.append(leaf_hash)
        for _ in range((before + 1 & ~before).bit_length() - 1):  # full trees of equal size
            stack[-2:] = [node(*stack[-2:])]
    while len(stack) > 1:
        stack[-2:] = [node(*stack[-2:])]
    return stack[0]


def node(left, right):
    return hashlib.sha256(b"tfmark/v1/node" + left + right).digest()


@pytest.mark.parametrize("count", range(1, 10))
def test_the_merkle_tree_is_that_of_rfc_6962(count):
    assert merkle_root(LEAVES[:count]) == rfc6962_root(LEAVES[:count])


def test_a_merkle_tree_has_leaves():
    with pytest.raises(ValueError, match="at least one leaf"):
        merkle_root([])


def test_the_root_binds_each_leaf_its_place_and_their_number():
    lists = [LEAVES[:5], LEAVES[:4], LEAVES[1:5], [*LEAVES[:4], LEAVES[3]]]
    lists += [[*LEAVES[:i], LEAVES[8], *LEAVES[i + 1 : 5]] for i in range(5)]
    lists += [list(order) for order in itertools.islice(itertools.permutations(LEAVES[:5]), 1, 120)]
    assert len({merkle_root(leaves) for leaves in lists}) == len(lists)


def test_nodes_leaves_and_base_leaves_have_domains_of_their_own():
    """A leaf whose content looks like two child nodes is still no inner node."""
    left, right = LEAVES[:2]
    children = [left + right, b"tfmark/v1/node" + left + right]
    as_leaves = {leaf(0, child[:32], child[32:]) for child in children}
    as_base = {base_leaf(0, child) for child in children}
    as_node = {merkle_root([left, right])}
    plain = {hashlib.sha256(child).digest() for child in children[:1]}
    assert len(as_leaves | as_base | as_node | plain) == 6


@pytest.mark.parametrize(
    "sizes", [[1] * 400, [400], [0, 7, 0, 393], [137, 1, 135, 127], [300, 100]]
)
def test_a_stream_does_not_depend_on_how_it_is_read(sizes):
    stream = Stream(SECRET, b"a")
    expected = hashlib.shake_256(SECRET + b"a").digest(400)
    assert b"".join(stream.read(size) for size in sizes) == expected


def test_purposes_give_streams_of_their_own():
    purposes = [b"label", b"pattern", b"", b"tfmark/v1/order"]
    assert len({Stream(SECRET, purpose).read(16) for purpose in purposes}) == len(purposes)


def is_plausibly_uniform(counts, kinds):
    """Whether a chi-square statistic is less than five deviations above its expectation."""
    expected = sum(counts.values()) / kinds
    statistic = sum((counts[i] - expected) ** 2 for i in counts) / expected
    statistic += (kinds - len(counts)) * expected
    return statistic < kinds - 1 + 5 * (2 * (kinds - 1)) ** 0.5


@pytest.mark.parametrize("bound", [2, 3, 10, 43, 1000])
def test_below_is_uniform(bound):
    stream = Stream(SECRET, b"uniform")
    counts = Counter(stream.below(bound) for _ in range(20 * max(bound, 500)))
    assert set(counts) == set(range(bound))
    assert is_plausibly_uniform(counts, bound)


@pytest.mark.parametrize("bound", [3 << 30, (1 << 31) + 1])
def test_below_rejects_instead_of_wrapping_around(bound):
    """With a bare modulo small numbers would come up twice as often as large ones."""
    stream = Stream(SECRET, b"bias")
    counts = Counter(stream.below(bound) * 3 // bound for _ in range(3000))
    assert is_plausibly_uniform(counts, 3)


def test_below_follows_from_the_bytes_alone():
    data = hashlib.shake_256(SECRET).digest(400)
    numbers = [int.from_bytes(data[i : i + 4], "big") for i in range(0, 400, 4)]
    kept = [number % (3 << 30) for number in numbers if number < 3 << 30]
    stream = Stream(SECRET)
    assert [stream.below(3 << 30) for _ in kept] == kept
    assert 60 < len(kept) < 90  # some were rejected


@pytest.mark.parametrize("count", [0, 1, 2, 7, 500])
def test_shuffled_is_a_permutation(count):
    assert sorted(Stream(SECRET, b"order").shuffled(count)) == list(range(count))


def test_each_order_is_equally_likely():
    stream = Stream(SECRET, b"orders")
    counts = Counter(tuple(stream.shuffled(4)) for _ in range(2400))
    assert is_plausibly_uniform(counts, 24)


@given(st.integers(1, 40), st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_no_other_does(count, data):
    leaves = [hashlib.sha256(bytes([i])).digest() for i in range(count)]
    index = data.draw(st.integers(0, count - 1))
    root, path = merkle_root(leaves), derivation.merkle_path(leaves, index)
    assert derivation.root_above(leaves[index], index, count, path) == root
    for other in set(range(count)) - {index}:
        assert derivation.root_above(leaves[index], other, count, path) != root
    assert derivation.root_above(b"x" * 32, index, count, path) != root
    assert derivation.root_above(leaves[index], index, count, (*path, root)) != root
    if path:
        swapped = (*path[:-1], bytes(32))
        assert derivation.root_above(leaves[index], index, count, path[1:]) != root
        assert derivation.root_above(leaves[index], index, count, swapped) != root
