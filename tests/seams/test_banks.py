"""The bank contracts, on everything that ships."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from eyestream.banks.build import build
from eyestream.banks.shelf import Bank
from eyestream.programmes import Programme, available
from eyestream.records import digest
from eyestream.testing.contracts_bank import BankContract, TextEncoderContract
from eyestream.testing.texts import FakeTextEncoder


class TestFakeTextEncoder(TextEncoderContract):
    @pytest.fixture
    def text_encoder(self):
        return FakeTextEncoder(48)


class TestBuiltInBanks(BankContract):
    @pytest.fixture(params=available())
    def bank(self, request):
        programme = Programme.builtin(request.param)
        origin = {"encoder_digest": digest("encoder"), "preprocessing_digest": digest("preprocessing")}
        return Bank(programme, build(programme, FakeTextEncoder(48), **origin))


def test_the_example_swaps_a_bank_and_finds_the_new_disease(capsys):
    example = Path(__file__).parents[2] / "examples" / "03_write_a_prompt_bank.py"
    runpy.run_path(str(example), run_name="__main__")
    before, after, *_ = capsys.readouterr().out.splitlines()
    assert before.endswith("clear (none)")
    assert after.endswith("refer (soon)")
