"""Published text sides as the bank asks them: their padding, their scale, their refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.testing.contracts_bank import TextEncoderContract
from eyestream_engines.heads import zeroshot
from eyestream_engines.networks.bert import Bert, Shape
from eyestream_engines.spec import EncoderFile, Wording
from eyestream_engines.texts.encoder import TowerTextEncoder, lengths_of
from eyestream_engines.texts.towers import unit
from eyestream_engines.texts.wordpiece import WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
DIGEST = "d" * 64


class Mean(nn.Module):
    """As FLAIR does it: the mean over all places, those of the padding too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.bert = Bert(Shape(len(VOCABULARY), width=16, layers=2, heads=2, hidden=32, positions=64)).eval()
        for weight in self.bert.parameters():
            weight.data *= 4 if weight.ndim > 1 else 1

    def forward(self, ids, mask):
        return unit(self.bert(ids, mask)[-1].mean(1))


class First(Mean):
    """As RET-CLIP does it: the first token, which sees no padding."""

    def forward(self, ids, mask):
        return unit(self.bert(ids, mask)[-1][:, 0])


def wording(**how):
    told = {"tokenizer": "wordpiece", "vocabulary": "vocab.txt", "vocabulary_sha256": "0" * 64, "context": 60}
    return Wording.model_validate(told | how)


def encoder_with(tower, lengths=None, **how):
    words = WordPiece(VOCABULARY, lower=True)
    return TowerTextEncoder(tower, words, wording(**how), dim=16, weights=DIGEST, lengths=lengths)


class TestOfTheMean(TextEncoderContract):
    tolerance = 1e-6

    @pytest.fixture
    def text_encoder(self):
        return encoder_with(Mean(), dict.fromkeys(self.phrases, 50))


class TestOfTheFirstToken(TextEncoderContract):
    tolerance = 1e-6

    @pytest.fixture
    def text_encoder(self):
        return encoder_with(First())


def test_padding_moves_a_mean_and_leaves_a_first_token_alone():
    for tower, moved in ((Mean(), True), (First(), False)):
        short, long = (encoder_with(tower, {"drusen": length}).encode(["drusen"]) for length in (0, 40))
        assert (np.abs(short - long).max() > 1e-3) == moved


def test_each_length_is_another_tower():
    assert encoder_with(Mean()).digest != encoder_with(Mean(), {"drusen": 20}).digest
    assert encoder_with(Mean()).digest == encoder_with(Mean()).digest


def test_a_text_longer_than_the_context_is_refused_in_its_own_words():
    with pytest.raises(ValueError, match="haemorrhages"):
        encoder_with(First(), context=8).encode(["haemorrhages"])


def test_a_class_is_padded_to_its_longest_a_call_to_the_longest_of_all():
    words = WordPiece(VOCABULARY, lower=True)
    classes = [["ab", "abcd"], ["a"]]
    assert lengths_of(wording(padding="class"), words, classes) == {"ab": 6, "abcd": 6, "a": 3}
    assert lengths_of(wording(padding="call"), words, classes) == {"ab": 6, "abcd": 6, "a": 6}
    assert lengths_of(wording(padding="context", context=20), words, classes) == {"ab": 20, "abcd": 20, "a": 20}


def test_a_text_of_two_classes_that_pad_it_differently_is_refused():
    words = WordPiece(VOCABULARY, lower=True)
    with pytest.raises(Misconfigured, match="two classes"):
        lengths_of(wording(padding="class"), words, [["ab", "abcd"], ["ab"]])
    assert lengths_of(wording(padding="class"), words, [["ab", "abcd"], ["ab", "dcba"]])["ab"] == 6


@pytest.mark.parametrize("padding", ["class", "call"])
@pytest.mark.parametrize(("text", "told"), [("ab " * 30, "shorten it"), ("\u200b", "nothing that this text tower")])
def test_a_phrase_that_cannot_be_read_whole_is_refused_in_words(padding, text, told):
    words = WordPiece(VOCABULARY, lower=True)
    with pytest.raises(Misconfigured, match=f"phrase of the programme: .*{told}"):
        lengths_of(wording(padding=padding, context=20), words, [["ab", text]])


def test_a_programme_is_asked_in_the_models_own_template_and_scale():
    programme = Programme.builtin("demo")
    flair = EncoderFile.load("flair").wording
    asked = zeroshot.as_its_authors(programme, flair, learned=14.5)
    assert asked.scoring.scale == 14.5
    assert not asked.scoring.renormalise
    assert asked.scoring.templates == ("A fundus photograph of {}",)
    assert asked.digest == programme.digest
    first = next(zeroshot.classes_of(asked))
    phrase = programme.conditions[0].positive[0]
    assert (programme.conditions[0].templates or ("A fundus photograph of {}",))[0].format(phrase) == first[0]


def test_eyeclip_multiplies_by_a_constant_whatever_it_learned():
    asked = zeroshot.as_its_authors(Programme.builtin("demo"), EncoderFile.load("eyeclip").wording, learned=14.5)
    assert asked.scoring.scale == 100.0


def test_an_encoder_without_texts_says_where_its_heads_come_from():
    with pytest.raises(Misconfigured, match="linear probe"):
        zeroshot.wording_of(EncoderFile.load("retfiner-retfound"))


def test_every_text_of_a_programme_is_in_a_class():
    programme = Programme.builtin("demo")
    asked = {text for texts in zeroshot.classes_of(programme) for text in texts}
    for condition in programme.conditions:
        for phrase in (*condition.positive, *condition.negative):
            assert any(phrase in text for text in asked)
    for group in programme.groups:
        assert all(any(phrase in text for text in asked) for phrase in group.rest)
