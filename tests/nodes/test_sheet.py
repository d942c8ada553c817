"""Sheets of pictures as nodes."""

import pytest
import torch

from graphengine import GraphEngineError
from graphengine_nodes import sheet


def test_a_caption_for_each_link_stands_under_all_its_pictures() -> None:
    frames, still = torch.rand(3, 16, 16, 3), torch.rand(1, 16, 16, 3)
    made = sheet.pictures(captions="frames\nstill", columns=4, a=frames, b=still)
    same = sheet.pictures(captions="frames\nframes\nframes\nstill", columns=4, a=frames, b=still)
    other = sheet.pictures(captions="frames\nframes\nstill\nstill", columns=4, a=frames, b=still)
    assert torch.equal(made, same) and not torch.equal(made, other)


def test_captions_that_fit_nothing_are_told() -> None:
    with pytest.raises(GraphEngineError, match="3 labels for 4 pictures"):
        sheet.pictures(captions="a\nb\nc", a=torch.rand(4, 8, 8, 3))


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(GraphEngineError, match="needs a picture"):
        sheet.pictures(title="empty")


def test_numbers_are_counted_from_the_first() -> None:
    image = torch.rand(2, 8, 8, 3)
    one, two = (sheet.numbered(image, label="seed", first=first) for first in (1, 2))
    assert one.shape == two.shape and not torch.equal(one, two)
