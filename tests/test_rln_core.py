# SPDX-License-Identifier: BSD-3-Clause
"""The compiled Richardson-Lucy Network against the twin in plain torch."""

import copy

import pytest
import torch

from compare import assert_close, assert_same
from otfuse import reference
from otfuse.functional import rln, rln_bytes
from otfuse.nn import RLN
from test_rln import DEPTH, made_up, volume

# Even and odd extents, single vectors and their tails, fewer planes than the stages are apart.
EXTENTS = [(8, 10, 12), (7, 9, 13), (2, 3, 2), (3, 2, 67), (21, 4, 64), (4, 33, 34)]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("extents", EXTENTS, ids=str)
def test_every_simd_level(rng, extents, views, simd_level):
    network = made_up(rng, torch.float32, views=views)
    image = volume(rng, 2, views, *extents, dtype=torch.float32)
    weights = {name: values.double() for name, values in network.state_dict().items()}
    expected = reference.rln(image.double(), weights)["first"]
    actual = rln(image, network.packed_weights())
    assert_close(actual, expected, simd_level, factor=DEPTH)


# Planes too large for the cache are worked through in strips of rows: an odd last row, and more
# strips than two.
STRIPS = [(5, 91, 401), (4, 200, 210), (2, 62, 1030)]


@pytest.mark.parametrize("extents", STRIPS, ids=str)
def test_strips_of_rows_change_nothing(rng, extents, simd_level, set_threads):
    set_threads(2)  # of many threads each needs some rows, and a strip is all of them
    weights = made_up(rng, torch.float32).packed_weights()
    image = volume(rng, 2, 1, *extents, dtype=torch.float32)
    narrow = image[..., :64]  # planes of this are worked through whole
    assert rln_bytes(extents) < rln_bytes(narrow.shape[2:]) * extents[2] / 64  # strips it is
    same = slice(0, 40)  # beyond the reach of the cut
    assert_same(rln(image, weights)[..., same], rln(narrow, weights)[..., same], "strips")


def test_softplus_far_out(rng, simd_level):
    # Kernels of zeros leave the last normalisation's shift: ln(1 + e^shift), averaged.
    network = made_up(rng, torch.float32)
    weights = network.state_dict()
    weights["conv.15.weight"].zero_()
    weights["norm.16.running_mean"].zero_()
    for shift in (-200.0, -20.0, -3.0, -0.1, 0.0, 1e-3, 0.7, 5.0, 17.0, 90.0, 1e6):
        weights["norm.16.bias"].fill_(shift)
        actual = rln(torch.rand(1, 1, 2, 2, 3), network.packed_weights())
        expected = torch.nn.functional.softplus(torch.tensor(shift, dtype=torch.float64))
        error = float((actual.double() - expected).abs().max())
        assert error <= 5e-7 * max(1.0, abs(shift)), (shift, error)


def test_network_uses_it(rng):
    network = made_up(rng, torch.float32)
    image = volume(rng, 1, 1, 6, 7, 8, dtype=torch.float32)
    expected = rln(image, network.packed_weights(), denominator=network.denominator)
    with torch.no_grad():
        assert_same(network(image), expected, "inference")
    assert network(image).grad_fn is not None
    assert network.requires_grad_(False)(image).grad_fn is None


def test_weights_are_packed_once_and_after_every_change(rng, monkeypatch):
    network = made_up(rng, torch.float32)
    image = volume(rng, 1, 1, 6, 7, 8, dtype=torch.float32)
    calls = []
    pack = RLN.packed_weights
    monkeypatch.setattr(RLN, "packed_weights", lambda self: calls.append(1) or pack(self))

    def up_to_date(packed: int) -> None:
        with torch.no_grad():
            for _ in range(2):
                found = network(image)
        assert len(calls) == packed
        assert_same(found, rln(image, pack(network), denominator=network.denominator), "now")

    up_to_date(1)
    with torch.no_grad():
        network.conv["5"].weight.mul_(0.9)
    up_to_date(2)
    network.norm["3"].running_var.add_(0.1)
    up_to_date(3)
    network.load_state_dict(made_up(rng, torch.float32).state_dict())
    up_to_date(4)
    network.bfloat16().float()
    up_to_date(5)
    network.conv["1"].weight = torch.nn.Parameter(0.5 * network.conv["1"].weight.detach())
    up_to_date(6)
    network = copy.deepcopy(network)
    up_to_date(7)
    for p in network.parameters():  # as moving averages of weights do, which torch does not count
        p.data.mul_(0.9)
    up_to_date(8)
    with torch.inference_mode():
        network.norm["2"].bias = torch.nn.Parameter(torch.ones(4))
    up_to_date(10)  # torch counts no changes of it


def test_threads_change_nothing(rng):
    network = made_up(rng, torch.float32)
    image = volume(rng, 1, 1, 9, 11, 34, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 13):
            torch.set_num_threads(n)
            results.append(rln(image, network.packed_weights()))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert_same(result, results[0], "threads")


def test_strided_image(rng):
    network = made_up(rng, torch.float32)
    image = volume(rng, 1, 1, 9, 8, 12, dtype=torch.float32).transpose(2, 4)[..., ::2]
    weights = network.packed_weights()
    assert_same(rln(image, weights), rln(image.contiguous(), weights), "strided")


def test_empty_batch():
    result = rln(torch.zeros(0, 1, 4, 4, 4), RLN().packed_weights())
    assert result.shape == (0, 1, 4, 4, 4)


def test_not_finite_stays_where_it_reaches(rng):
    network, image = made_up(rng, torch.float32), torch.rand(1, 1, 2, 2, 80)
    image[..., 0] = float("nan")
    result = rln(image, network.packed_weights())
    assert bool(result[..., :10].isnan().all())
    assert bool(result[..., 20:].isfinite().all())


def test_compile(rng, compiled):
    network = made_up(rng, torch.float32).requires_grad_(False)
    image = volume(rng, 1, 1, 4, 6, 8, dtype=torch.float32)
    assert_close(compiled(network)(image), network(image), "compiled")


def test_memory_does_not_grow_with_planes():
    assert rln_bytes((100, 64, 64)) == rln_bytes((200, 64, 64))
    # The published rate's volume, image and result counted: at most 60 B a voxel.
    voxels = 64 * 128 * 128
    assert rln_bytes((64, 128, 128)) / voxels + 8 <= 60
    assert rln_bytes((64, 128, 128), 2) < 1.1 * rln_bytes((64, 128, 128))


@pytest.mark.parametrize(
    ("image", "weights", "error", "match"),
    [
        (torch.zeros(1, 1, 4, 1, 4), None, ValueError, "each extent at least 2"),
        (torch.zeros(1, 3, 4, 4, 4), None, ValueError, "1 or 2 views"),
        (torch.zeros(4, 4, 4), None, ValueError, r"got shape \(4, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4, 4), torch.zeros(7), ValueError, "weights must hold .* got 7"),
        (torch.zeros(1, 2, 4, 4, 4), None, ValueError, "weights must hold"),
        (torch.zeros(1, 1, 4, 4, 4).double(), None, TypeError, "must be float32"),
    ],
)
def test_rejects(image, weights, error, match):
    weights = RLN().packed_weights() if weights is None else weights
    with pytest.raises(error, match=match):
        rln(image, weights)
