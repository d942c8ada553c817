"""Conditionings put together: what each function answers, against its formula."""

import pytest
import torch

from graphengine.diffusion import (
    Area,
    Conditioning,
    average_conditioning,
    combine_conditioning,
    concat_conditioning,
    limit_to_area,
    limit_to_mask,
    limit_to_range,
    set_strength,
    zero_out,
)
from graphengine.diffusion.conditioning import bounds_of
from graphengine.errors import ModelError


def text(length=4, width=3):
    return Conditioning(torch.randn(1, length, width))


def test_combining_keeps_the_parts_in_order_and_flat():
    a, b, c = text(), text(), text()
    left, right = (
        combine_conditioning(combine_conditioning(a, b), c),
        combine_conditioning(a, combine_conditioning(b, c)),
    )
    for whole in (left, right):
        assert [part.tokens for part in whole.parts] == [a.tokens, b.tokens, c.tokens]
        assert all(not part.also for part in whole.parts)
        assert not whole.is_plain


def test_every_part_is_changed_and_nothing_else():
    both = combine_conditioning(text(), text())
    mask, area = torch.rand(1, 8, 8), Area(0, 0, 0.5, 0.5)
    changed = limit_to_range(limit_to_mask(limit_to_area(both, area, 2.0), mask), 0.1, 0.9)
    for part, before in zip(changed.parts, both.parts, strict=True):
        assert part.tokens is before.tokens
        assert (part.area, part.strength, part.start, part.end) == (area, 2.0, 0.1, 0.9)
        assert torch.equal(part.mask, mask)
    assert both.area is None and both.mask is None


def test_plain_is_one_text_everywhere_all_the_time():
    assert text().is_plain
    assert set_strength(text(), 3.0).is_plain
    for changed in (
        set_strength(text(), 0.0),
        limit_to_area(text(), Area(0, 0, 1, 1)),
        limit_to_mask(text(), torch.ones(1, 2, 2)),
        limit_to_range(text(), 0.1, 1),
        limit_to_range(text(), 0, 0.9),
    ):
        assert not changed.is_plain


@pytest.mark.parametrize("length", [2, 4, 6])
def test_average_is_between_two_texts(length):
    one, other = text(4), text(length)
    found = average_conditioning(one, other, 0.25).tokens
    fitted = torch.nn.functional.pad(other.tokens, (0, 0, 0, max(0, 4 - length)))[:, :4]
    torch.testing.assert_close(found, one.tokens * 0.25 + fitted * 0.75)
    assert torch.equal(average_conditioning(one, other, 1.0).tokens, one.tokens)


def test_concat_puts_the_other_text_behind_each_part():
    a, b, other = text(), text(), text(7)
    found = concat_conditioning(combine_conditioning(a, b), other)
    for part, before in zip(found.parts, (a, b), strict=True):
        assert torch.equal(part.tokens, torch.cat([before.tokens, other.tokens], 1))


def test_zero_out_leaves_the_shape():
    one = text(5)
    found = zero_out(one)
    assert torch.equal(found.tokens, torch.zeros(1, 5, 3))
    assert bool(one.tokens.any())


@pytest.mark.parametrize("join", [concat_conditioning, lambda a, b: average_conditioning(a, b, 0)])
def test_texts_of_other_widths_are_refused(join):
    with pytest.raises(ModelError, match=r"3 wide.*5 wide.*one checkpoint"):
        join(text(width=3), text(width=5))


def test_bounds_are_the_rectangle_around_all_masks():
    masks = torch.zeros(2, 10, 20)
    masks[0, 2:4, 5:10], masks[1, 3:6, 8:15] = 1, 0.1
    assert bounds_of(masks) == Area(0.25, 0.2, 0.5, 0.4)
    assert bounds_of(torch.zeros(1, 4, 4)) is None
    assert limit_to_mask(text(), masks, bounds=True).area == bounds_of(masks)
    assert limit_to_mask(text(), torch.zeros(1, 4, 4), bounds=True).area is None


def test_the_strength_of_a_mask_is_in_it():
    assert torch.equal(
        limit_to_mask(text(), torch.ones(1, 2, 2), 0.5).mask, torch.full((1, 2, 2), 0.5)
    )
