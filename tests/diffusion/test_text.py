from dataclasses import replace

import pytest
import torch

from graphengine.diffusion import encode_prompt
from graphengine.diffusion.text import parse_weights, split_chunks
from graphengine.errors import ModelError


@pytest.fixture(scope="module")
def tokens(pipeline):
    return pipeline.tokenizer


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", 1.1)]),
        ("((cat))", [("cat", 1.21)]),
        ("(cat:1.5) mat", [("cat", 1.5), (" mat", 1)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 2), (" c", 0.5)]),
        ("(a (b:2))", [("a ", 1.1), ("b", 2)]),
        ("((b):0.5)", [("b", 0.55)]),
        ("(a:b:1.2)", [("a:b", 1.2)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("(a:-1)", [("a", -1)]),
        ("(a:nan)(b:inf)(c:x)", [("a:nan", 1.1), ("b:inf", 1.1), ("c:x", 1.1)]),
        (r"\(a\) (b \(c\):2)", [("(a) ", 1), ("b (c)", 2)]),
        ("(a", [("(a", 1)]),
        ("a) b", [("a) b", 1)]),
        ("(a (b)", [("(a ", 1), ("b", 1.1)]),
        ("()", []),
        ("[a] c:\\d", [("[a] c:\\d", 1)]),
        ("a\nb", [("a\nb", 1)]),
    ],
)
def test_brackets(text, pieces):
    found = parse_weights(text)
    assert [piece.text for piece in found] == [text for text, _ in pieces]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in pieces])


def test_deep_brackets_take_no_recursion():
    assert parse_weights("(" * 5000 + "a" + ")" * 5000)[0].text == "a"
    assert parse_weights("(" * 5000)[0].text == "(" * 5000


def test_chunks_are_framed_and_padded(tokens):
    start, end = tokens.bos_token_id, tokens.eos_token_id
    (chunk,) = split_chunks(tokens, parse_weights("a (cat:1.5)"), 10)
    a, cat = tokens("a cat", add_special_tokens=False)["input_ids"]
    assert chunk.ids == [start, a, cat, end, *[tokens.pad_token_id] * 6]
    assert chunk.weights == [1, 1, 1.5, *[1] * 7]


def test_short_pieces_move_whole_and_long_ones_are_cut(tokens):
    def lengths(text):
        chunks = split_chunks(tokens, parse_weights(text), 12)
        return [chunk.ids.index(tokens.eos_token_id) - 1 for chunk in chunks]

    assert lengths("a " * 23) == [10, 10, 3]
    assert lengths("a a a a (b b b b b b b)") == [4, 7]
    assert lengths("a a a a (b b b b b b b b)") == [10, 2]
    assert lengths("a " * 10) == [10]


def test_a_prompt_is_what_diffusers_reads(checkpoint, memory, pipeline):
    for text in ("", "a cat by the sea", "Cat, CAT & cat!"):
        theirs = pipeline.encode_prompt(text, "cpu", 1, False)[0]
        ours = encode_prompt(checkpoint.text_encoder, text, memory=memory).tokens
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_clip_skip_is_an_earlier_layer_with_the_final_norm(checkpoint, memory, pipeline):
    ids = pipeline.tokenizer("cat", padding="max_length", return_tensors="pt").input_ids
    hidden = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states
    for skip in (0, 1, 2):
        encoder = replace(checkpoint.text_encoder, skip=skip)
        theirs = pipeline.text_encoder.final_layer_norm(hidden[-1 - skip])
        ours = encode_prompt(encoder, "cat", memory=memory).tokens
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match="3 of 3 layers"):
        encode_prompt(replace(checkpoint.text_encoder, skip=3), "cat", memory=memory)


def test_weights_stretch_the_distance_from_the_empty_text(checkpoint, memory):
    def encode(text):
        return encode_prompt(checkpoint.text_encoder, text, memory=memory).tokens

    plain, empty, heavy = encode("a cat"), encode(""), encode("a (cat:1.5)")
    assert torch.equal(heavy[:, :2], plain[:, :2])
    assert torch.equal(heavy[:, 3:], plain[:, 3:])
    torch.testing.assert_close(heavy[:, 2], empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2]))


def test_long_prompts_are_their_chunks_side_by_side(checkpoint, memory):
    def encode(text):
        return encode_prompt(checkpoint.text_encoder, text, memory=memory).tokens

    long = encode("cat " * 200)
    assert long.shape == (1, 3 * 77, 32)
    assert torch.equal(long[:, 77:154], encode("cat " * 75))
    assert torch.equal(long[:, 154:], encode("cat " * 50))
