"""A prompt's tokens, against the tokenizer itself, and the figure of them."""

from __future__ import annotations

import pytest
import torch

from graphengine.diffusion import encode_prompt, prompt_tokens
from graphengine.diffusion.text import ClipText, parse_weights, split_chunks
from graphengine.diffusion.tokens import read_tokens
from graphengine.figures.tokens import PLAIN, fill_of, tokens_figure


@pytest.fixture
def read(checkpoint, memory):
    return lambda text: prompt_tokens(checkpoint.text_encoder, text, memory=memory)


def texts(found):
    return [(token.text or token.kind, token.weight) for chunk in found.chunks for token in chunk]


def test_tokens_are_what_the_encoder_gets(read, pipeline):
    text = "a (cat:1.5) by the sea, " * 30
    found = read(text)
    chunks = split_chunks(pipeline.tokenizer, parse_weights(text), 77)
    assert len(chunks) > 2
    assert [[token.id for token in chunk] for chunk in found.chunks] == [c.ids for c in chunks]
    weights = [[token.weight for token in chunk] for chunk in found.chunks]
    assert weights == [chunk.weights for chunk in chunks]
    plain = pipeline.tokenizer(text.replace("(", "").replace(":1.5)", ""))["input_ids"]
    assert found.count == len(plain) - 2


def test_kinds_weights_and_words(read):
    found = read("a (Cat:1.5) ox")
    shown = [("start", 1), ("a", 1), ("cat", 1.5), ("o", 1), ("x", 1), ("end", 1), ("padding", 1)]
    assert texts(found)[:7] == shown
    assert found.words == ("a", "cat", "ox")
    assert [found.places(word) for word in range(3)] == [[1], [2], [3, 4]]
    assert {token.kind for token in found.chunks[0][6:]} == {"padding"}


def test_places_go_on_in_later_chunks(read):
    found = read("cat " * 80)
    assert len(found.chunks) == 2
    assert found.places(74) == [75]
    assert found.places(75) == [77 + 1]
    assert [token.kind for token in found.chunks[0]][75:] == ["text", "end"]


def test_emphasis_inside_a_word_makes_two(read):
    assert read("(c:2)at").words == ("c", "at")


def test_letters_without_a_token_are_told(read):
    found = read("cat né cat é")
    assert "unknown" in [token.kind for token in found.chunks[0]]
    assert found.lost == ("né", "é")
    assert read("a cat").lost == ()


def test_bytes_of_a_letter_are_shown_in_hex(checkpoint, memory):
    with memory.use(checkpoint.text_encoder) as clip:
        tokenizer = Bytes(clip.tokenizer)
        found = read_tokens(ClipText(clip.model, tokenizer), "é")
    shown = [(token.kind, token.text) for token in found.chunks[0][1:3]]
    assert shown == [("bytes", "c3"), ("bytes", "a9")]
    assert [token.word for token in found.chunks[0][1:3]] == [0, 0]


class Bytes:
    """A tokenizer that knows the two bytes of é, as CLIP's own does."""

    def __init__(self, tokenizer):
        self.inner = tokenizer
        self.unk_token_id = self.eos_token_id = self.pad_token_id = tokenizer.eos_token_id
        self.bos_token_id = tokenizer.bos_token_id

    def __call__(self, text, **options):
        one = [1000, 1001] if "é" in text else []
        return {"input_ids": [one] * len(text) if isinstance(text, list) else one}

    def convert_ids_to_tokens(self, ids):
        known = {1000: "Ã", 1001: "©</w>"}
        if isinstance(ids, list):
            return [known[token] for token in ids]
        return known.get(ids) or self.inner.convert_ids_to_tokens(ids)

    def batch_decode(self, words):
        return ["é"] * len(words)


def test_the_table_has_a_line_for_each_token_and_one_for_padding(read):
    lines = read("a (cat:0.5)").table().splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["chunk", "place", "id", "weight", "token", "word"],
        ["1", "0", str(read("").chunks[0][0].id), "1", "[start]"],
        ["1", "1", str(read("a").chunks[0][1].id), "1", "a", "a"],
        ["1", "2", str(read("cat").chunks[0][1].id), "0.5", "cat", "cat"],
    ]
    assert lines[-1].split()[1] == "4-76"
    assert len(lines) == 6


def test_an_empty_prompt_is_start_end_and_padding(read):
    found = read("")
    assert (found.words, found.count, len(found.chunks)) == ((), 0, 1)
    assert [token.kind for token in found.chunks[0][:3]] == ["start", "end", "padding"]


@pytest.mark.parametrize("text", ["", "a (cat:1.4) ox é", "cat " * 2000])
def test_the_figure_stays_usable(text, read, checkpoint, memory):
    found = read(text)
    embedding = encode_prompt(checkpoint.text_encoder, text, memory=memory).tokens
    figure = tokens_figure(found, embedding, text, most=2)
    assert figure.shape[0] == 1
    assert figure.shape[2:] == (1600, 3)
    assert 600 < figure.shape[1] < 4000
    assert float(figure.min()) >= 0
    assert float(figure.max()) <= 1


def test_the_map_shows_the_numbers_in_their_columns(read):
    """One token's numbers up, another's down: red and blue columns, and white ones elsewhere."""
    found = read("cat " * 75)
    numbers = torch.zeros(1, 77, 32)
    numbers[0, 10], numbers[0, 20] = 1, -1
    figure = tokens_figure(found, numbers, "")[0]
    row = figure[-120]  # inside the map, which stands at the bottom
    column = (1600 - 96) / 77
    red, blue, none = (row[round(48 + (place + 0.5) * column)] for place in (10, 20, 30))
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    assert float(none.min()) > 0.9


def test_chips_are_coloured_by_weight():
    def warmth(weight):
        color = bytes.fromhex(fill_of(weight)[1:])
        return color[0] - color[2]

    assert fill_of(1) == PLAIN
    assert warmth(0.5) < warmth(0.9) < warmth(1) < warmth(1.1) < warmth(1.5)
    assert fill_of(5) == fill_of(2)
