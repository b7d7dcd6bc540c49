"""Route: one uploaded picture scored as the line would, and stored nowhere."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response

from eyestream.errors import Rejected, Unavailable
from eyestream.records import ImageMeta, Laterality, Modality, RetinalField, Slug, utc
from eyestream.web.guard import SomeSender
from eyestream.web.models import ResultView, shown
from eyestream.web.problems import Problem, answers

router = APIRouter(prefix="/v1", tags=["scoring"])

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The picture file itself, as the camera wrote it.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/tiff", "application/dicom", "application/octet-stream")
        },
    }
}
_NOBODY: Final = "on-demand-scoring"
"""Stands for exam, subject, site and device, which an uploaded picture has not."""


@router.post("/scores", response_model=ResultView, responses=answers(404, 413), openapi_extra=_BODY)
async def score(
    request: Request,
    visit: SomeSender,
    programme: Annotated[Slug, Query(description="The programme to judge by.", examples=["demo"])],
    *,
    laterality: Annotated[Laterality, Query(description="R, L, or U for unknown.")] = "U",
    modality: Annotated[Modality, Query()] = "CFP",
    field: Annotated[RetinalField, Query(description="What the picture is centred on.")] = "other",
    orientation: Annotated[int, Query(ge=1, le=8, description="EXIF; 1 takes the file's own.")] = 1,
    content_type: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Score a picture with the line's own decoding, engine and bank: the same file has the same digests and numbers.

    Nothing is stored but that you asked. A picture the line would refuse is a problem with the line's own reason.
    """
    services = visit.services
    visit.require("score", programme)
    bank = services.banks().get(programme)
    if bank is None:
        raise Problem(404, "unknown-programme", "No bank is in service for this programme: /v1/programmes lists them.")
    value = await request.body()
    sha256 = hashlib.sha256(value).hexdigest()
    meta = ImageMeta(
        image_id=sha256[:32],
        exam_id=_NOBODY,
        subject_id=_NOBODY,
        laterality=laterality,
        modality=modality,
        field=field,
        site_id=_NOBODY,
        device_id=_NOBODY,
        captured_at=utc(services.clock()),
        programme=programme,
        orientation=orientation,
        sha256=sha256,
    )
    await visit.record("picture.scored", image_id=meta.image_id, programme=programme)
    outcome = "failed"
    try:
        result = await services.scorer.score(value, meta, content_type=content_type)
        outcome = "scored"
    except Rejected:
        outcome = "rejected"
        raise
    except Unavailable:
        outcome = "unavailable"
        raise
    finally:
        services.metrics.scores.labels(outcome).inc()
    return shown(ResultView.of(result, bank.programme, picture=None))
