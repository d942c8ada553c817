"""A sheet holds every picture at its place, and refuses labels that don't fit."""

import pytest
import torch

from graphengine.errors import GraphEngineError, ModelError
from graphengine.figures import labelled_grid
from graphengine.figures.style import PAGE, SCALE, font, px, wrapped

RED, GREEN, BLUE = (torch.tensor(color) for color in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]))


def plain(color, high=8, wide=8):
    return color.expand(1, high, wide, 3).clone()


def places(sheet, color):
    """The box of a colour on a sheet: top, left, bottom, right."""
    found = (sheet[0] - color).abs().amax(-1) < 0.01
    rows, columns = torch.where(found)
    return tuple(int(x) for x in (rows.min(), columns.min(), rows.max(), columns.max()))


def test_pictures_lie_row_by_row():
    sheet = labelled_grid([plain(RED), plain(GREEN), plain(BLUE)], columns=2)
    red, green, blue = (places(sheet, color) for color in (RED, GREEN, BLUE))
    assert red[0] == green[0] and red[3] < green[1]
    assert blue[1] == red[1] and blue[0] > red[2]
    sizes = {(box[2] - box[0], box[3] - box[1]) for box in (red, green, blue)}
    assert len(sizes) == 1
    assert sheet.dtype == torch.float32 and sheet.min() >= 0 and sheet.max() <= 1


def test_the_sheet_is_as_wide_as_the_page():
    pictures = torch.rand(5, 64, 64, 3)
    wide = labelled_grid(pictures, columns=5, title="Title").shape[2]
    assert PAGE * SCALE - 10 < wide <= PAGE * SCALE
    large = torch.rand(1, 900, 2000, 3)
    assert labelled_grid([large, large], columns=2).shape[2] <= PAGE * SCALE


def test_an_empty_place_stays_empty():
    sheet = labelled_grid([None, plain(RED), plain(GREEN), None], columns=2)
    red, green = places(sheet, RED), places(sheet, GREEN)
    assert red[1] > green[3] and green[0] > red[2]
    corner = sheet[0, red[0] : red[2], : red[1] - 2]
    assert bool((corner == 1).all())


def test_sizes_may_differ_and_keep_their_proportions():
    sheet = labelled_grid([plain(RED, 10, 20), plain(GREEN, 20, 10)], columns=2, sharp=True)
    for color, ratio in ((RED, 2), (GREEN, 0.5)):
        top, left, bottom, right = places(sheet, color)
        assert (right - left + 1) / (bottom - top + 1) == pytest.approx(ratio)
    assert bool(torch.isfinite(sheet).all())


def test_sharp_cells_are_whole_pixels_of_one_size():
    map_of = torch.tensor([[0.0, 1.0, 0.5]]).reshape(1, 1, 3, 1)
    sheet = labelled_grid(map_of, cell=30, sharp=True)
    middle = sheet[0, sheet.shape[1] // 2, px(24) : px(54), 0]
    values, counts = middle.unique_consecutive(return_counts=True)
    assert counts.tolist() == [20, 20, 20]
    assert values.tolist() == pytest.approx([0, 1, 0.5], abs=0.01)


@pytest.mark.parametrize(
    "words",
    [
        {"title": "T"},
        {"note": "N"},
        {"columns_are": "C"},
        {"column_labels": ["a", "b"]},
        {"captions": ["x", "y", "", ""]},
    ],
)
def test_words_take_room_above_or_below(words):
    pictures = torch.rand(4, 16, 16, 3)
    plain_sheet = labelled_grid(pictures, columns=2)
    told = labelled_grid(pictures, columns=2, **words)
    assert told.shape[1] > plain_sheet.shape[1]


def test_captions_lie_between_the_rows():
    distances = []
    for captions in ((), ["one\ntwo", ""]):
        sheet = labelled_grid([plain(RED), plain(GREEN)], columns=1, cell=40, captions=captions)
        distances.append(places(sheet, GREEN)[0] - places(sheet, RED)[2])
    assert distances[1] > distances[0] + px(20)


def test_names_of_rows_take_room_on_the_left():
    sheets = [
        labelled_grid([plain(RED), plain(RED)], columns=1, cell=50, **words)
        for words in ({}, {"row_labels": ["a", "b"]}, {"row_labels": ["a", "b"], "rows_are": "R"})
    ]
    lefts = [places(sheet, RED)[1] for sheet in sheets]
    assert lefts == sorted(set(lefts))


def test_long_captions_wrap_and_end():
    short, long = (
        labelled_grid([plain(RED)], cell=60, captions=["word " * count]).shape[1]
        for count in (4, 500)
    )
    longest = labelled_grid([plain(RED)], cell=60, captions=["word " * 5000]).shape[1]
    assert short < long == longest


def test_columns_follow_from_labels():
    pictures = torch.rand(6, 8, 8, 3)
    by_columns = labelled_grid(pictures, column_labels=["a", "b", "c"], cell=20)
    by_rows = labelled_grid(pictures, row_labels=["a", "b"], cell=20)
    assert by_columns.shape[2] > by_columns.shape[1] * 0.9
    assert by_rows.shape[1] == labelled_grid(pictures, columns=3, cell=20).shape[1]


def test_what_is_transparent_shows_the_paper():
    clear = torch.cat([plain(RED), torch.zeros(1, 8, 8, 1)], dim=-1)
    sheet = labelled_grid([clear])
    assert float((sheet[0] - RED).abs().amax(-1).min()) > 0.5


@pytest.mark.parametrize(
    ("pictures", "words", "told"),
    [
        ([], {}, "needs a picture"),
        ([None], {}, "needs a picture"),
        (torch.zeros(2, 4, 4, 3), {"captions": ["one"]}, "1 labels for 2 pictures"),
        (torch.zeros(4, 4, 4, 3), {"columns": 2, "column_labels": ["a"]}, "1 labels for 2 columns"),
        (torch.zeros(4, 4, 4, 3), {"columns": 2, "row_labels": ["a"]}, "1 labels for 2 rows"),
    ],
)
def test_what_does_not_fit_is_told(pictures, words, told):
    with pytest.raises(GraphEngineError, match=told):
        labelled_grid(pictures, **words)


def test_nan_is_told():
    with pytest.raises(ModelError, match="NaN"):
        labelled_grid(torch.full((1, 4, 4, 3), float("nan")))


def test_lines_fit_and_lose_no_word():
    text = "a few words, and averyveryverylongwordthatmustbecut somewhere"
    lines = wrapped(text, 12, px(90))
    assert all(font(12).getlength(line) <= px(90) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("one\ntwo", 12, px(90)) == ["one", "two"]
    assert wrapped("x\u00a0=\u00a01 " * 9, 12, px(90))[0].count("x\u00a0=\u00a01") >= 2
    cut = wrapped("word " * 50, 12, px(90), most=2)
    assert len(cut) == 2 and cut[1].endswith("…")
    assert font(12).getlength(cut[1]) <= px(90)
