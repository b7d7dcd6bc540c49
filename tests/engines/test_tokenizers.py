"""Words to numbers as the models' authors do it: known ids of the published vocabularies, and the rules behind them."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from eyestream.errors import Misconfigured
from eyestream_engines.texts import vocabulary
from eyestream_engines.texts.bytepairs import BytePairs
from eyestream_engines.texts.tokens import tokenise
from eyestream_engines.texts.wordpiece import WordPiece

PAD, UNKNOWN, START, END = 0, 100, 101, 102
CHINESE = {"双": 1352, "眼": 4706, "糖": 5131, "尿": 2228, "病": 4567, "视": 6228, "网": 5381, "膜": 5606, "变": 1359}
"""Where these stand in the vocabulary of bert-base-chinese."""


def sparse(words: dict[str, int], size: int = 6300) -> list[str]:
    lines = [f"[unused{place}]" for place in range(size)]
    for word, place in ({"[PAD]": PAD, "[UNK]": UNKNOWN, "[CLS]": START, "[SEP]": END} | words).items():
        lines[place] = word
    return lines


@pytest.fixture
def words() -> WordPiece:
    known = ["retina", "##l", "##s", "vein", "a", "##b", "fundus", ",", "-", "$", "cafe", "i", "no", "##n"]
    return WordPiece(sparse({word: 200 + place for place, word in enumerate(known)}), lower=True)


@pytest.fixture
def pairs() -> BytePairs:
    return BytePairs(["r e", "t i", "ti n", "re tin", "retin a</w>", "n o", "no n</w>"])


def test_a_chinese_phrase_has_the_ids_that_ret_clip_publishes() -> None:
    read = tokenise(WordPiece(sparse(CHINESE), lower=True), ["双眼糖尿病视网膜病变"], context=100)
    assert read.ids.tolist() == [[101, 1352, 4706, 5131, 2228, 4567, 6228, 5381, 5606, 4567, 1359, 102]]
    assert read.mask.all()


def test_words_are_cut_into_the_longest_pieces(words: WordPiece) -> None:
    assert words.pieces("retinals") == [200, 201, 202]
    assert words.pieces("retinas retina") == [200, 202, 200]


def test_a_word_that_cannot_be_pieced_together_is_one_unknown(words: WordPiece) -> None:
    assert words.pieces("retinax vein") == [UNKNOWN, 203]
    assert words.pieces("a" * 101) == [UNKNOWN]


def test_case_and_accents_come_off_on_a_cased_vocabulary_too(words: WordPiece) -> None:
    assert words.pieces("RETINA Café İ") == [200, 210, 211]
    kept = WordPiece(sparse({"Retina": 300, "retina": 301}), lower=False)
    assert kept.pieces("Retina retina RETINA") == [300, 301, UNKNOWN]


def test_marks_and_symbols_are_words_of_their_own(words: WordPiece) -> None:
    assert words.pieces("retina,vein-$") == [200, 207, 203, 208, 209]


def test_controls_vanish_and_every_space_is_one(words: WordPiece) -> None:
    assert words.pieces("ret\u200bina\u0000\u3000vein\tfundus") == [200, 203, 206]


def test_a_cjk_character_is_a_word_even_inside_a_latin_one(words: WordPiece) -> None:
    mixed = WordPiece(sparse({"a": 300, "眼": 301, "b": 302}), lower=True)
    assert mixed.pieces("a眼b") == [300, 301, 302]


def test_a_vocabulary_without_berts_own_tokens_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"\[UNK\]"):
        WordPiece(["[PAD]", "[CLS]", "[SEP]"], lower=True)


def test_byte_pairs_merge_in_the_order_of_training(pairs: BytePairs) -> None:
    first = 512
    assert pairs.pieces("retina") == [first + 4]
    assert pairs.pieces("non") == [first + 6]
    assert pairs.pieces("retin") == [first + 0, first + 1, ord("n") - ord("!") + 256]
    assert (pairs.start, pairs.end) == (first + 7, first + 8)


def test_the_first_ids_are_the_bytes_that_print_and_their_ends_of_words(pairs: BytePairs) -> None:
    assert pairs.pieces("!") == [256]
    assert pairs.pieces("x y") == [ord("x") - ord("!") + 256, ord("y") - ord("!") + 256]
    assert len(pairs.pieces("眼")) == 3


def test_entities_mojibake_and_case_are_mended_before_merging(pairs: BytePairs) -> None:
    assert pairs.pieces("  RETINA\n&amp;amp; retina ") == pairs.pieces("retina & retina")
    assert pairs.pieces("retinaâ€™s") == pairs.pieces("retina's")


def test_digits_stand_alone_and_short_forms_keep_their_apostrophe(pairs: BytePairs) -> None:
    assert pairs.pieces("12") == pairs.pieces("1 2")
    assert pairs.pieces("retina's") == [*pairs.pieces("retina"), *pairs.pieces("'s")]


def test_a_list_of_byte_pairs_that_is_too_short_is_refused() -> None:
    with pytest.raises(Misconfigured, match="48894"):
        BytePairs.of_file(["#version: 0.2", "a b"])
    with pytest.raises(Misconfigured, match="pair"):
        BytePairs(["a b c"])


def test_texts_are_padded_on_the_right_to_the_longest_or_to_a_length(words: WordPiece) -> None:
    read = tokenise(words, ["retina vein", "retina"], context=9)
    assert read.ids.tolist() == [[START, 200, 203, END], [START, 200, END, PAD]]
    assert read.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert tokenise(words, ["retina"], context=9, length=6).ids.tolist() == [[START, 200, END, PAD, PAD, PAD]]


def test_a_text_too_long_or_empty_is_refused_rather_than_cut(words: WordPiece) -> None:
    assert tokenise(words, ["retina vein"], context=4).ids.shape == (1, 4)
    with pytest.raises(ValueError, match="shorten"):
        tokenise(words, ["retina vein fundus"], context=4)
    with pytest.raises(ValueError, match="nothing"):
        tokenise(words, [" \t "], context=4)


def test_no_texts_have_no_tokens(words: WordPiece) -> None:
    assert tokenise(words, [], context=4).ids.shape[0] == 0


@pytest.mark.parametrize("write", [lambda text: text, lambda text: text.replace(b"\n", b"\r\n"), gzip.compress])
def test_a_vocabulary_is_known_by_its_text_whatever_its_line_ends_and_packing(tmp_path: Path, write) -> None:
    text = "[PAD]\nfundus\n视\n".encode()
    file = tmp_path / "vocab"
    file.write_bytes(write(text))
    assert vocabulary.lines(file, sha256=hashlib.sha256(text).hexdigest()) == ["[PAD]", "fundus", "视"]


def test_another_vocabulary_or_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    with pytest.raises(Misconfigured, match="comes with the checkpoint"):
        vocabulary.lines(file, sha256="0" * 64)
    file.write_text("[PAD]\n")
    with pytest.raises(Misconfigured, match="another vocabulary"):
        vocabulary.lines(file, sha256="0" * 64)
    packed = gzip.compress(b"[PAD]\n")
    for damaged in (packed[:10], packed[:10] + b"\xff" + packed[11:]):
        file.write_bytes(damaged)
        with pytest.raises(Misconfigured, match="cannot be read"):
            vocabulary.lines(file, sha256="0" * 64)


def test_ids_and_mask_are_what_torch_reads(words: WordPiece) -> None:
    read = tokenise(words, ["retina"], context=9)
    assert (read.ids.dtype, read.mask.dtype) == (np.int64, np.bool_)
