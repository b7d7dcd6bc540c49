from __future__ import annotations

import pytest

from eyestream.encoders.fake import FakeEncoder
from eyestream.encoders.triton import TritonEncoder
from eyestream.testing.contracts_encoder import EncoderContract


class TestFakeEncoder(EncoderContract):
    @pytest.fixture
    def encoder(self):
        return FakeEncoder()


@pytest.mark.stack
class TestTritonEncoder(EncoderContract):
    @pytest.fixture
    async def encoder(self, triton_url):
        encoder = await TritonEncoder.connect(triton_url, "eyestream-demo")
        yield encoder
        await encoder.close()
