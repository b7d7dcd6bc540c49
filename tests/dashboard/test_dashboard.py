"""The dashboard as people use it: in a browser, with a keyboard, over the real line."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if os.environ.get("CI") != "true":  # noqa: TID251 - there, what is missing is a failure
    pytest.importorskip("playwright", reason="NO PLAYWRIGHT, SO THE DASHBOARD IS NOT TESTED: `make test` installs it")
from playwright.sync_api import Page, Route, expect

if TYPE_CHECKING:
    from tests.dashboard.conftest import Clinic

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
PAGES = ("worklist", "exam?id=exam-03", "line", "letters", "models")
expect.set_options(timeout=60_000)


def sign_in(page: Page, clinic: Clinic, who: str = "ana") -> None:
    page.get_by_label("API key or token").fill(clinic.service.keys[who])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()


def go(page: Page, place: str, heading: str) -> None:
    page.evaluate("place => { location.hash = `#/${place}` }", place)
    expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()


def look(page: Page, place: str) -> None:
    """Show a page whole: everything it waits for is there."""
    page.evaluate("place => { location.hash = `#/${place}` }", place)
    expect(page.locator("main h1")).not_to_have_count(0)
    expect(page.locator("main .loading")).to_have_count(0)


def test_a_key_is_asked_for_kept_in_the_tab_and_forgotten_on_signing_out(page: Page, clinic: Clinic):
    box = page.get_by_label("API key or token")
    expect(box).to_be_focused()
    box.fill("esk_not-a-key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not know this key")
    sign_in(page, clinic)
    page.reload()
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    assert clinic.service.keys["ana"] not in page.url
    page.get_by_role("button", name="Sign out").click()
    expect(box).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('eyestream.key')") is None


def test_the_worklist_is_the_services_own_and_filters_narrow_it(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    rows = page.locator("table.work tbody tr")
    wanted = [one["exam_id"] for one in clinic.ask("/v1/programmes/demo/worklist").json()["exams"]]
    assert rows.locator("th").all_inner_texts() == wanted
    page.get_by_label("The line says").focus()
    page.keyboard.press("T")
    expect(rows.first).to_contain_text("Take again")
    again = clinic.ask("/v1/programmes/demo/worklist?outcome=recapture").json()["exams"]
    assert rows.locator("th").all_inner_texts() == [one["exam_id"] for one in again]
    expect(page.get_by_label("The line says")).to_be_focused()
    rows.first.get_by_role("link").click()
    page.get_by_role("link", name="Back to the worklist").click()
    expect(page.get_by_label("The line says")).to_have_value("recapture")
    expect(rows).to_have_count(len(again))
    page.get_by_label("The line says").select_option("")
    expect(rows).to_have_count(len(wanted))
    page.get_by_label("Show").select_option("mine")
    expect(page.get_by_text("No exam waits here.")).to_be_visible()


def test_an_exam_is_read_with_the_keyboard_alone(page: Page, clinic: Clinic):
    sign_in(page, clinic, "ben")
    page.locator("h1").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "exam-11":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Exam exam-11")).to_be_focused()
    claim = page.get_by_role("button", name="Claim this exam")
    for _ in range(40):
        page.keyboard.press("Tab")
        if claim.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    refer = page.get_by_role("radio", name=re.compile("Refer"))
    expect(refer).to_be_focused()
    page.keyboard.press("Space")
    page.get_by_label("How soon").select_option("urgent")
    page.get_by_label("Comment, for colleagues").fill("Blots in both eyes.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Decided")).to_be_visible()
    expect(page.get_by_role("button", name="Next exam")).to_be_focused()
    verdict = clinic.ask("/v1/exams/exam-11").json()["reading"]["verdict"]
    assert (verdict["outcome"], verdict["urgency"], verdict["by"]) == ("refer", "urgent", "key:ben")
    page.get_by_role("button", name="Take the decision back").click()
    expect(page.get_by_role("button", name="Claim this exam")).to_be_focused()
    assert clinic.ask("/v1/exams/exam-11").json()["reading"]["state"] == "open"


def test_from_a_decision_the_reader_goes_on_to_the_most_urgent_exam_that_nobody_holds(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "exam?id=exam-12", "Exam exam-12")
    page.get_by_role("button", name="Claim this exam").click()
    page.get_by_role("radio", name=re.compile("Take again")).check()
    page.get_by_role("button", name="Decide", exact=True).click()
    page.get_by_role("button", name="Next exam").click()
    [first] = clinic.ask("/v1/programmes/demo/worklist?which=open&limit=1").json()["exams"]
    expect(page.get_by_role("heading", name=f"Exam {first['exam_id']}")).to_be_focused()


def test_two_readers_do_not_get_into_each_others_way(page: Page, other_page: Page, clinic: Clinic):
    for reader, who in ((page, "ana"), (other_page, "ben")):
        sign_in(reader, clinic, who)
        go(reader, "exam?id=exam-05", "Exam exam-05")
    page.get_by_role("button", name="Claim this exam").click()
    expect(page.get_by_text("You hold this exam until")).to_be_visible()
    expect(other_page.get_by_role("status").filter(has_text="key:ana")).to_contain_text("claimed")
    other_page.get_by_role("button", name="Claim this exam").click()
    other_page.get_by_role("alert").get_by_role("button", name="Read it again").click()
    expect(other_page.get_by_text("holds this exam until")).to_be_visible()
    page.get_by_role("button", name="Hand back undecided").click()
    expect(page.get_by_text("Nobody holds this exam.")).to_be_visible()
    other_page.get_by_role("button", name="Read the exam again").click()
    expect(other_page.get_by_role("button", name="Claim this exam")).to_be_visible()


def test_a_claim_is_renewed_for_a_reader_and_not_for_a_page_left_open(page: Page, clinic: Clinic):
    renewed: list[str] = []
    page.on("request", lambda asked: renewed.append(asked.url) if asked.method == "PUT" else None)
    page.clock.install()
    sign_in(page, clinic)
    go(page, "exam?id=exam-06", "Exam exam-06")
    page.get_by_role("button", name="Claim this exam").click()
    expect(page.get_by_text("longer while you read on")).to_be_visible()
    assert len(renewed) == 1
    page.clock.run_for(7 * 60_000)
    expect(page.get_by_text("unless you read on")).to_be_visible()
    assert len(renewed) == 1
    page.mouse.move(300, 300)
    expect(page.get_by_text("longer while you read on")).to_be_visible()
    assert len(renewed) == 2
    page.mouse.move(310, 310)
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.clock.run_for(7 * 60_000)
    page.get_by_role("button", name="Hand back undecided").click()
    expect(page.get_by_role("button", name="Claim this exam")).to_be_visible()


def test_a_laptop_whose_clock_is_slow_keeps_its_claims(page: Page, clinic: Clinic):
    page.clock.install(time=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    sign_in(page, clinic)
    go(page, "exam?id=exam-05", "Exam exam-05")
    page.get_by_role("button", name="Claim this exam").click()
    expect(page.get_by_text("longer while you read on")).to_be_visible()
    page.mouse.move(300, 300)
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.clock.run_for(7 * 60_000)
    page.get_by_role("button", name="Hand back undecided").click()
    expect(page.get_by_role("button", name="Claim this exam")).to_be_visible()


def test_a_proxy_that_compresses_keeps_nobody_from_reading(page: Page, clinic: Clinic):
    def weakened(route: Route) -> None:
        answer = route.fetch()
        tag = answer.headers.get("etag")
        route.fulfill(response=answer, headers={**answer.headers, **({"etag": f"W/{tag}"} if tag else {})})

    page.route(re.compile(r"/v1/exams/exam-05(/claim)?$"), weakened)
    sign_in(page, clinic)
    go(page, "exam?id=exam-05", "Exam exam-05")
    page.get_by_role("button", name="Claim this exam").click()
    expect(page.get_by_text("You hold this exam until")).to_be_visible()
    page.get_by_role("button", name="Hand back undecided").click()
    expect(page.get_by_text("Nobody holds this exam.")).to_be_visible()


def test_an_exam_that_answers_late_does_not_take_the_place_of_the_one_asked_for_since(page: Page, clinic: Clinic):
    late: list[Route] = []

    def held(route: Route) -> None:
        late.append(route)

    sign_in(page, clinic)
    page.route("**/v1/exams/exam-03", held)
    with page.expect_request("**/v1/exams/exam-03"):
        page.evaluate("() => { location.hash = '#/exam?id=exam-03' }")
    go(page, "exam?id=exam-02", "Exam exam-02")
    with page.expect_response("**/v1/exams/exam-03"):
        late[0].continue_()
    page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
    assert page.locator("main h1").all_inner_texts() == ["Exam exam-02"]


def test_an_exam_of_another_programme_is_shown_on_its_own_scale_and_its_events_are_heard(page: Page, clinic: Clinic):
    def with_another(route: Route) -> None:
        answer = route.fetch()
        [demo] = answer.json()["programmes"]
        steps = [{**step, "title": "of another scale"} for step in demo["urgencies"]]
        another = {**demo, "name": "another", "title": "Another", "urgencies": steps}
        route.fulfill(response=answer, json={"programmes": [another, demo]})

    page.route("**/v1/programmes", with_another)
    sign_in(page, clinic)
    expect(page.get_by_label("Programme")).to_have_value("another")
    with page.expect_request(lambda asked: asked.url.endswith("/v1/events?programme=demo")):
        go(page, "exam?id=exam-11", "Exam exam-11")
    expect(page.get_by_label("Programme")).to_have_value("demo")
    expect(page.locator(".decision")).to_contain_text("Refer")
    expect(page.locator(".decision")).not_to_contain_text("of another scale")


def test_a_comment_stays_text_whatever_it_holds(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "exam?id=exam-10", "Exam exam-10")
    page.get_by_role("button", name="Claim this exam").click()
    page.get_by_role("radio", name=re.compile("Clear")).check()
    comment = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"
    page.get_by_label("Comment, for colleagues").fill(comment)
    page.get_by_role("button", name="Decide", exact=True).click()
    expect(page.locator("blockquote")).to_have_text(comment)
    assert page.locator("blockquote *").count() == 0
    assert page.title() == "Exam exam-10 · eyestream"


def test_an_exam_shows_every_number_that_the_service_has_of_it(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "exam?id=exam-03", "Exam exam-03")
    exam = clinic.ask("/v1/exams/exam-03").json()
    for side, name in (("R", "Right eye"), ("L", "Left eye")):
        card = page.get_by_role("region", name=name)
        for result in [one for one in exam["results"] if one["laterality"] == side]:
            card.get_by_role("button", name=re.compile({"macula": "Macula", "disc": "Disc"}[result["field"]])).click()
            expect(card.locator(".frame img")).to_be_visible()
            assert card.locator(".frame img").evaluate("image => image.naturalWidth") == 768
            for finding in result["findings"]:
                row = card.get_by_role("row", name=re.compile(f"^{finding['title']}"))
                expect(row).to_contain_text("found" if finding["positive"] else "no")
                width = row.locator(".full").evaluate("bar => parseFloat(bar.style.width)")
                assert width == pytest.approx(100 * finding["probability"], abs=0.01)
                point = row.locator(".point").evaluate("line => parseFloat(line.style.left)")
                assert point == pytest.approx(100 * finding["threshold"], abs=0.01)
            card.get_by_text("How this was judged").click()
            for digest in result["digests"].values():
                expect(card.locator(f"code[title='{digest}']")).to_be_visible()
            expect(card).to_contain_text(f"offset {result['position']['offset']}")


def test_a_heat_map_lies_over_the_picture_and_says_where_in_words(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "exam?id=exam-03", "Exam exam-03")
    card = page.get_by_role("region", name="Left eye")
    expect(card.locator(".frame img")).to_be_visible()
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, 768, 768).data.some(value => value > 0)"
    assert not card.locator("canvas").evaluate(painted)
    card.get_by_label("Show").select_option("exudates")
    expect(card.get_by_role("status")).to_contain_text("Outlined: what speaks loudest for it")
    assert card.locator("canvas").evaluate(painted)
    card.get_by_label("Show").select_option("")
    assert not card.locator("canvas").evaluate(painted)


def test_a_picture_is_enlarged_with_its_heat_map_and_moved_by_the_keyboard(page: Page, clinic: Clinic, axe_source: str):
    sign_in(page, clinic)
    go(page, "exam?id=exam-03", "Exam exam-03")
    card = page.get_by_role("region", name="Left eye")
    card.get_by_label("Show").select_option("exudates")
    expect(card.get_by_role("status")).to_contain_text("Outlined")
    button = card.get_by_role("button", name="Enlarge")
    button.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.locator("img")).to_be_visible()
    assert viewer.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 2048
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, 1024, 1024).data.some(value => value > 0)"
    assert viewer.locator("canvas").evaluate(painted)
    assert axe_faults(page, axe_source) == []
    before = viewer.locator("img").bounding_box()
    larger = viewer.get_by_role("button", name="Larger")
    expect(larger).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Enter")
    expect(larger).to_be_disabled()
    expect(viewer.get_by_role("status")).to_have_text("400 %")
    after = viewer.locator("img").bounding_box()
    assert before
    assert after
    assert after["width"] == pytest.approx(4 * before["width"], rel=0.02)
    place = viewer.get_by_role("region")
    place.focus()
    at = place.evaluate("place => place.scrollTop")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("([place, at]) => place.scrollTop > at", arg=[place.element_handle(), at])
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(button).to_be_focused()


def test_what_happens_is_told_as_it_happens_and_the_list_stands_still(page: Page, other_page: Page, clinic: Clinic):
    sign_in(page, clinic)
    sign_in(other_page, clinic)
    go(other_page, "line", "Live line")
    before = page.locator("table.work tbody tr").count()
    expect(page.locator(".live")).to_have_text("live")
    expect(other_page.locator(".live")).to_have_text("live")
    clinic.send("exam-04", exam_id="exam-40")
    expect(page.locator(".news")).to_contain_text("changed since")
    assert page.locator("table.work tbody tr").count() == before
    clinic.ground.wait(lambda: clinic.screened("exam-40"), "the exam's four results")
    page.get_by_role("button", name="Show the list as it is now").click()
    expect(page.locator("table.work tbody th").filter(has_text="exam-40")).to_be_visible()
    expect(other_page.locator(".happenings")).to_contain_text("exam-40")
    counts = clinic.ask("/v1/programmes/demo/counts").json()["counts"]
    expect(other_page.get_by_role("row", name=re.compile("Screened and stored"))).to_contain_text(str(counts["stored"]))
    for stage in ("Waiting in Kafka", "Decoding", "Batch and engine", "Kafka to stored"):
        expect(other_page.get_by_role("row", name=re.compile(f"^{stage}"))).to_contain_text(re.compile(r"\d\sm?s"))
    expect(other_page.locator(".figure").filter(has_text="Waiting")).to_contain_text(re.compile(r"Waiting\d"))


def test_dead_letters_say_why_and_go_back_onto_the_line(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "letters", "Dead letters")
    told = clinic.ask("/v1/dead-letters?waiting=true&limit=200").json()
    assert page.get_by_text(f"{told['total']} in all").is_visible()
    page.get_by_label("Reason").select_option("truncated")
    row = page.get_by_role("row", name=re.compile("^Choose truncated")).first
    [letter] = [one for one in told["letters"] if one["reason"] == "truncated"][:1]
    expect(row).to_contain_text(letter["explanation"])
    button = page.get_by_role("button", name="Put the chosen ones back")
    expect(button).to_be_disabled()
    row.get_by_role("checkbox").check()
    button.click()
    page.get_by_role("button", name="Leave them").click()
    assert not any(one["redriven"] for one in clinic.ask("/v1/dead-letters?reason=truncated").json()["letters"])
    button.click()
    page.get_by_role("dialog").get_by_role("button", name="Put back", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="1 put back")).to_be_visible()
    assert any(one["redriven"] for one in clinic.ask("/v1/dead-letters?reason=truncated").json()["letters"])


def test_what_is_in_service_is_shown_with_every_digest(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    go(page, "models", "Models and banks")
    [programme] = clinic.ask("/v1/programmes").json()["programmes"]
    shown = page.locator("main").inner_text()
    for part in ("digest", "bank", "encoder"):
        assert programme[part] in shown
    for condition in programme["conditions"]:
        assert condition["title"] in shown


def test_a_key_with_less_sees_less(page: Page, clinic: Clinic):
    sign_in(page, clinic, "viewer")
    expect(page.get_by_role("link", name="Dead letters")).to_have_count(0)
    go(page, "letters", "Nothing here")
    go(page, "exam?id=exam-02", "Exam exam-02")
    expect(page.get_by_role("button", name="Claim this exam")).to_have_count(0)
    expect(page.get_by_label("Show")).to_have_count(0)
    go(page, "exam?id=exam-no", "This did not work")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is known of this exam")


def test_while_the_service_is_away_the_page_says_so_and_goes_on_when_it_is_back(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    page.context.set_offline(offline=True)
    page.get_by_role("link", name="exam-02").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.context.set_offline(offline=False)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Exam exam-02")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_fault(page: Page, clinic: Clinic, axe_source: str, scheme: str):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    faults = axe_faults(page, axe_source)
    sign_in(page, clinic)
    for place in PAGES:
        look(page, place)
        faults += [f"{place}: {fault}" for fault in axe_faults(page, axe_source)]
        if place.startswith("exam"):
            page.get_by_role("button", name="Claim this exam").click()
            expect(page.get_by_role("button", name="Decide", exact=True)).to_be_visible()
            for closed in page.locator("summary").all():
                closed.click()
            faults += [f"{place}, claimed: {fault}" for fault in axe_faults(page, axe_source)]
            page.get_by_role("button", name="Hand back undecided").click()
            expect(page.get_by_role("button", name="Claim this exam")).to_be_visible()
        if place == "letters":
            page.get_by_label("Choose every letter on this page").check()
            page.get_by_role("button", name="Put the chosen ones back").click()
            faults += [f"{place}, asked: {fault}" for fault in axe_faults(page, axe_source)]
            page.get_by_role("button", name="Leave them").click()
    assert faults == []


def test_the_checker_finds_a_fault_where_there_is_one(page: Page, axe_source: str):
    expect(page.get_by_label("API key or token")).to_be_visible()
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(fault.startswith("button-name") for fault in axe_faults(page, axe_source))


def axe_faults(page: Page, source: str) -> list[str]:
    """Every violation of WCAG 2.2 AA and of axe's good practice, with where it is."""
    found = page.evaluate(f"{source}; axe.run(document, {{resultTypes: ['violations']}}).then(JSON.stringify)")
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for fault in json.loads(found)["violations"]
        for node in fault["nodes"]
    ]


def test_at_a_laptops_size_nothing_is_cut_off(page: Page, clinic: Clinic):
    sign_in(page, clinic)
    for place in PAGES:
        look(page, place)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 1280, place


def test_its_pictures_for_the_documentation(page: Page, clinic: Clinic, tmp_path: Path):
    """Written into docs/pictures when DOCS_PICTURES is set, else thrown away: `make pictures`."""
    folder = ROOT / "docs/pictures" if os.environ.get("DOCS_PICTURES") else tmp_path  # noqa: TID251
    sign_in(page, clinic)
    for place, name in zip(PAGES, ("worklist", "exam", "line", "dead-letters", "models"), strict=True):
        look(page, place)
        if name == "exam":
            card = page.get_by_role("region", name="Left eye")
            card.get_by_label("Show").select_option("exudates")
            expect(card.get_by_role("status")).to_contain_text("Outlined")
        if name == "line":
            clinic.send("exam-02", exam_id="exam-41")
            expect(page.locator(".happenings")).to_contain_text("exam-41")
            expect(page.locator(".figure").filter(has_text="Pictures now")).not_to_contain_text("now0")
            expect(page.get_by_role("row", name=re.compile("^Kafka to stored"))).to_be_visible()
        page.locator("h1").focus()
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 20_000
