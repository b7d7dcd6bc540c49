"""Routes: an exam's pictures: as the camera wrote them, as the engine sees them, and where they say what was found."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from eyestream.programmes import Programme
from eyestream.records import Identifier, Screening, digest
from eyestream.web.explainer import Explanation
from eyestream.web.guard import Explorer, Reader, Visit
from eyestream.web.models import View, etag, shown
from eyestream.web.problems import Problem, answers
from eyestream.web.sending import Sender
from eyestream.web.services import File

router = APIRouter(prefix="/v1/exams/{exam_id}/pictures/{image_id}", tags=["exams"])

ExamId = Annotated[Identifier, Path(description="The exam's id, as the device gave it.", examples=["exam-2026-0001"])]
ImageId = Annotated[Identifier, Path(description="The picture's id.", examples=["3f1c9a"])]
IfNoneMatch = Annotated[str | None, Header(description="The ETag that you hold already.", max_length=1000)]

_DECIMALS: Final = 4


class MapView(View):
    """Where one condition is seen."""

    condition: str
    title: str
    role: str
    probability: float
    """Of the picture with nothing covered, now; as stored while `as_stored`."""
    log_odds: float
    """The same before it was squeezed between 0 and 1."""
    values: list[list[float]]
    """What the log-odds lose when a place is covered, row by row from the top left; above 0 it speaks for it."""


class HeatmapView(View):
    """Where a picture says what its result says, in the frame that the engine sees (`…/seen`)."""

    image_id: str
    cells: int
    """Places a side."""
    as_stored: bool
    """Whether engine and bank are those of the picture's newest result; else the maps explain a judgement of today."""
    encoder: str
    bank: str
    maps: list[MapView]

    @classmethod
    def of(cls, explanation: Explanation, screening: Screening, programme: Programme) -> HeatmapView:
        """The explanation in its programme's words."""
        maps = []
        for place, name in enumerate(explanation.conditions):
            condition = programme.condition(name)
            maps.append(
                MapView(
                    condition=name,
                    title=condition.title if condition else name,
                    role=condition.role if condition else "finding",
                    probability=explanation.probabilities[place],
                    log_odds=round(explanation.log_odds[place], _DECIMALS),
                    values=explanation.lost[..., place].round(_DECIMALS).tolist(),
                )
            )
        identity = screening.identity
        return cls(
            image_id=screening.meta.image_id,
            cells=len(explanation.lost),
            as_stored=(identity.encoder, identity.bank) == (explanation.encoder, explanation.bank),
            encoder=explanation.encoder,
            bank=explanation.bank,
            maps=maps,
        )


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"image/jpeg": {}, "image/png": {}, "image/tiff": {}, "application/dicom": {}}},
        304: {"description": "As you hold it."},
        **answers(404, 410),
    },
)
async def picture(
    request: Request, visit: Reader, exam_id: ExamId, image_id: ImageId, if_none_match: IfNoneMatch = None
) -> Response:
    """The picture's own bytes, from Kafka or the object store, as long as either keeps it (410 afterwards)."""
    screening = await _screening(visit, exam_id, image_id)
    await _viewed(visit, screening)
    headers = {"ETag": etag(screening.meta.sha256), "Cache-Control": "private, no-cache"}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    sender: Sender = request.app.state.sender
    return await sender.answer(
        lambda: _file(visit, screening),
        lambda file: {**headers, "Content-Disposition": f'inline; filename="{image_id}.{file.suffix}"'},
    )


@router.get(
    "/seen",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}},
        304: {"description": "As you hold it."},
        **answers(404, 410),
    },
)
async def seen(
    visit: Reader,
    exam_id: ExamId,
    image_id: ImageId,
    *,
    side: Annotated[int, Query(ge=256, le=2048, description="Pixels a side, at the least.")] = 768,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The picture as the engine frames it, larger, as a JPEG whatever the camera wrote: upright, cropped, filled.

    Heat maps lie on it place by place. For looking at on a screen; the file itself is what a finding is judged by.
    """
    screening = await _screening(visit, exam_id, image_id)
    await _viewed(visit, screening, detail="seen")
    file = await _file(visit, screening)
    value = await visit.services.explainer.seen(file.value, screening.meta, side=side, content_type=file.content_type)
    # Of the view, not of the file: another engine frames the file otherwise, and its heat maps would lie askew.
    headers = {"ETag": etag(digest(value)), "Cache-Control": "private, no-cache"}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(value, headers=headers, media_type="image/jpeg")


@router.get("/heatmap", response_model=HeatmapView, responses=answers(404, 410))
async def heatmap(visit: Explorer, exam_id: ExamId, image_id: ImageId) -> Response:
    """Where the picture says what its result says, for every condition at once: by covering it place by place.

    Asks the engine 257 times, one batch after another; hence the scope `score` beside `read`. The picture's own
    orientation, engine and head as the line has them; asking again is answered from memory for a while.
    """
    screening = await _screening(visit, exam_id, image_id)
    meta = screening.meta
    bank = visit.services.banks().get(meta.programme)
    if bank is None:
        raise Problem(404, "unknown-programme", "No bank is in service for this exam's programme.")
    await visit.record("picture.explained", exam_id=exam_id, image_id=image_id, programme=meta.programme)
    file = await _file(visit, screening)
    explanation = await visit.services.explainer.explain(file.value, meta, content_type=file.content_type)
    return shown(HeatmapView.of(explanation, screening, bank.programme))


async def _screening(visit: Visit, exam_id: str, image_id: str) -> Screening:
    """The picture's newest result."""
    screenings = await visit.services.results.screenings(exam_id)
    found = [screening for screening in screenings if screening.meta.image_id == image_id]
    if not found:
        raise Problem(404, "unknown-picture", "No picture with this id was screened in this exam.")
    return found[-1]


async def _viewed(visit: Visit, screening: Screening, *, detail: str = "") -> None:
    meta = screening.meta
    await visit.record(
        "picture.viewed", exam_id=meta.exam_id, image_id=meta.image_id, programme=meta.programme, detail=detail
    )


async def _file(visit: Visit, screening: Screening) -> File:
    file = await visit.services.pictures.file(screening)
    if file is None:
        raise Problem(410, "picture-gone", "The picture is kept no longer; its result is.")
    return file
