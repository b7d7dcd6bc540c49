"""What every encoder must keep, as tests to subclass. Knows no server.

class TestMyEncoder(EncoderContract):
    @pytest.fixture
    async def encoder(self):
        encoder = await MyEncoder.connect(...)
        yield encoder
        await encoder.close()
"""

from __future__ import annotations

import asyncio

import numpy as np

from eyestream.encoders.base import Encoder
from eyestream.records import Pixels


class EncoderContract:
    """Subclass it with a fixture `encoder`; `tolerance` is the engine's stated bound on a number of an embedding."""

    tolerance = 0.005

    def pictures(self, encoder: Encoder, count: int) -> Pixels:
        """Seeded noise pictures [count, height, width, 3] that differ from each other."""
        seeded = np.random.default_rng(7)
        return seeded.integers(0, 256, (count, encoder.spec.height, encoder.spec.width, 3), dtype=np.uint8)

    async def test_one_unit_vector_comes_back_for_each_picture(self, encoder: Encoder) -> None:
        pictures = self.pictures(encoder, encoder.spec.max_batch)
        embeddings = await encoder.encode(pictures)
        assert embeddings.shape == (len(pictures), encoder.spec.dim)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=self.tolerance)

    async def test_rows_keep_the_order_of_pictures(self, encoder: Encoder) -> None:
        pictures = self.pictures(encoder, min(3, encoder.spec.max_batch))
        forward = await encoder.encode(pictures)
        backward = await encoder.encode(np.ascontiguousarray(pictures[::-1]))
        np.testing.assert_allclose(forward, backward[::-1], atol=self.tolerance)

    async def test_a_picture_is_encoded_alike_whatever_its_batch_mates(self, encoder: Encoder) -> None:
        pictures = self.pictures(encoder, encoder.spec.max_batch)
        together = await encoder.encode(pictures)
        for row in (0, len(pictures) - 1):
            alone = await encoder.encode(pictures[row : row + 1])
            np.testing.assert_allclose(alone[0], together[row], atol=self.tolerance)

    async def test_calls_at_once_do_not_mix(self, encoder: Encoder) -> None:
        pictures = self.pictures(encoder, 6)
        one_by_one = [await encoder.encode(pictures[row : row + 1]) for row in range(len(pictures))]
        at_once = await asyncio.gather(*(encoder.encode(pictures[row : row + 1]) for row in range(len(pictures))))
        np.testing.assert_allclose(np.concatenate(at_once), np.concatenate(one_by_one), atol=self.tolerance)

    async def test_different_pictures_have_different_embeddings(self, encoder: Encoder) -> None:
        pictures = self.pictures(encoder, 2)
        pictures[1] = 255 - pictures[1] // 8
        first, second = await encoder.encode(pictures)
        assert np.abs(first - second).max() > self.tolerance

    async def test_the_description_holds_together(self, encoder: Encoder) -> None:
        spec = encoder.spec
        assert min(spec.height, spec.width, spec.dim, spec.max_batch, spec.instances) >= 1
        assert len(spec.digest) == 64
        int(spec.digest, 16)

    async def test_the_canary_is_content_with_a_healthy_engine(self, encoder: Encoder) -> None:
        await encoder.check()
        await encoder.check()
