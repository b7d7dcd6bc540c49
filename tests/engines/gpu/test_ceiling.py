"""The matrix products that bound an encoder: found by shape, run alone, and the fastest square of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eyestream_engines.export import shape_of
from eyestream_engines.gpu import ceiling
from eyestream_engines.gpu.ceiling import Product, alone, flops, products
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.timing import Effort

BRIEF = Effort(warm_s=0.0, rounds=1, spell_s=0.001)
CPU = Device("cpu")


def counted(network, told, batch):
    *frames, height, width, channels = shape_of(told)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty([batch, channels, *frames, height, width], device="meta"))
    return counter.get_total_flops()


def test_the_products_of_a_transformer_are_all_that_torch_counts(made):
    network = copy.deepcopy(made.network).to("meta")
    found = products(network, made.encoder.input, 3)
    assert flops(found) == counted(network, made.encoder.input, 3) > 0


def test_twice_the_batch_is_twice_the_work(made):
    network = copy.deepcopy(made.network).to("meta")
    assert flops(products(network, made.encoder.input, 4)) == 2 * flops(products(network, made.encoder.input, 2))


def test_convolutions_in_groups_and_transposed_count_as_the_products_that_they_are(tiny):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, groups=4), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
    ).to("meta")
    found = products(network, tiny.input, 2)
    assert flops(found) == counted(network, tiny.input, 2)
    assert found.keys() >= {Product(4, 2 * 13 * 13, 2 * 9, 2), Product(2, 2 * 13 * 13, 4, 2 * 4)}


def test_all_products_run_alone_as_often_as_they_are_made(monkeypatch):
    made = []
    monkeypatch.setattr(torch, "bmm", lambda one, other, out: made.append((one.shape, other.shape, out.shape)))
    alone({Product(2, 3, 4, 5): 2, Product(1, 6, 2, 1): 1}, CPU)(2)
    big, small = ((2, 3, 4), (2, 4, 5), (2, 3, 5)), ((1, 6, 2), (1, 2, 1), (1, 6, 1))
    assert [tuple(map(tuple, shapes)) for shapes in made] == [big, big, small] * 2


def test_what_runs_is_the_product_in_fp16_of_numbers_that_are_not_zero(monkeypatch):
    seen = []
    whole = torch.bmm

    def bmm(one, other, *, out):
        seen.append((one, other, whole(one, other, out=out)))

    monkeypatch.setattr(torch, "bmm", bmm)
    alone({Product(2, 3, 4, 5): 1}, CPU)(1)
    ((one, other, out),) = seen
    assert {one.dtype, other.dtype, out.dtype} == {torch.float16}
    assert out.abs().min() > 0
    torch.testing.assert_close(out, one @ other)


def test_the_ceiling_is_the_fastest_of_the_sides_that_fit(monkeypatch):
    whole = ceiling.alone

    def scarce(found, device):
        if any(product.rows > 64 for product in found):
            raise torch.OutOfMemoryError("out of memory")
        return whole(found, device)

    monkeypatch.setattr(ceiling, "alone", scarce)
    found = ceiling.ceiling(CPU, BRIEF, sides=(1, 64, 128))
    assert found.side == 64
    assert found.flops == 2 * 64**3


def test_where_no_product_runs_it_is_said_with_its_reason(monkeypatch):
    def none(_found, _device):
        raise torch.OutOfMemoryError("out of memory: another program holds it")

    monkeypatch.setattr(ceiling, "alone", none)
    with pytest.raises(RuntimeError, match="no matrix product runs here: out of memory: another program"):
        ceiling.ceiling(CPU, BRIEF, sides=(64,))
