"""The viewer in Debian's Chromium, before a live inference server with a published model."""

import asyncio
import csv
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from control_plane.audit.query import Question, ask
from control_plane.sinks.lake import LakeReader
from shared.interpret import interpret
from shared.listen import free_port
from shared.onnx_model import OnnxModel
from shared.schemas import Window, utc_now
from tests.support import golden
from tests.support.browser import WIDTH, page
from tests.support.console_lake import CONFIG, ConsoleLake
from tests.support.inference import door
from tests.support.releases import Centre
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
PHONE = 390  # pixels
TAGS = list(golden.component().tags)
READINGS = [[each.metrics.get(tag, "") for tag in TAGS] for each in golden.readings()]
pytestmark = pytest.mark.slow


class Viewer(NamedTuple):
    """A running one: where it is, its centre, and what ends the inference server."""

    url: str
    centre: Centre
    end_inference: threading.Event


@contextmanager
def inference(centre: Centre, address: list[str]) -> Iterator[threading.Event]:
    """A door on a thread of its own, open until the event is set; `address` takes its address."""
    end, is_open = threading.Event(), threading.Event()

    async def serve() -> None:
        async with door(centre) as found:
            address.append(found)
            is_open.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert is_open.wait(60)
        yield end
    finally:
        end.set()
        thread.join()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory) -> Iterator[Viewer]:
    """A small trained model of pumps, published; a pump of the fleet with its recorded readings."""
    folder = tmp_path_factory.mktemp("viewer")
    centre = Centre(folder)
    centre.publish(*golden.release())
    ConsoleLake(centre.layout.lake).create().write(*golden.readings())
    (folder / "fleet.yaml").write_text(CONFIG)
    address, port = list[str](), free_port()
    with pytest.MonkeyPatch.context() as patch, inference(centre, address) as end:
        patch.setenv("TMPDIR", str(folder))  # it is killed, and leaves its uploads
        options = ["--config", str(folder / "fleet.yaml"), "--data-dir", str(centre.layout.data_dir)]
        where = ["--inference", address[0], "--listen", f"127.0.0.1:{port}"]
        with running("control-plane", "viewer", *options, *where, port=port):
            yield Viewer(f"http://127.0.0.1:{port}", centre, end)


@pytest.fixture(scope="module")
def found(viewer) -> Iterator[Page]:
    """One browser for all tests of this file."""
    with page(height=1000) as opened:
        opened.set_default_timeout(SEEN_WITHIN_MS)
        expect.set_options(timeout=SEEN_WITHIN_MS)
        yield opened
        expect.set_options(timeout=None)


def load_file(found: Page, path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([TAGS, *rows])
    found.get_by_role("tab", name="A CSV file").click()
    found.get_by_label("Component type").click()
    found.get_by_role("option", name="coolant_pump").click()
    found.locator("input[type=file]").set_input_files(path)
    expect(found.get_by_role("cell", name=path.name)).to_be_visible(timeout=SEEN_WITHIN_MS)
    found.get_by_role("button", name="Load the file").click()


def predict(found: Page, **values: str) -> None:
    for tag, value in values.items():
        found.locator(f"#tag-{tag} input").fill(value)
    found.get_by_role("button", name="Predict", exact=True).click()


def told(rows: list[list[object]]) -> str:
    """What the release itself says of the last cycles, as the page writes it."""
    manifest, graph = golden.release()
    values = np.array([[np.nan if cell == "" else cell for cell in row] for row in rows[-30:]], np.float32)
    window = Window(golden.PUMP, "coolant_pump", None, utc_now(), tuple(TAGS), values)
    found = interpret(OnnxModel(manifest, graph).run(values[None]), manifest, window)
    return (
        f"{found['rul']:.0f} cycles of remaining useful life"
        f"interval {found['rul_low']:.0f} to {found['rul_high']:.0f} cycles"
    )


def hotter(rows: list[list[object]], to: float) -> list[list[object]]:
    """Bearing metal temperature shifted until its newest is `to`."""
    at = TAGS.index("bearing_temperature")
    by = to - rows[-1][at]
    return [[*row[:at], row[at] + by if row[at] != "" else "", *row[at + 1 :]] for row in rows]


def test_a_file_is_loaded_changed_predicted_and_compared(viewer, found, tmp_path):
    """PRD 6.4: RUL with interval, model and reasons; variations side by side; on the record as exploration,
    and nowhere else; not a request to anybody but the viewer; readable with a screen reader."""
    found.goto(viewer.url)
    expect(found.get_by_role("note")).to_contain_text("No answer on this page is the plant's")
    load_file(found, tmp_path / "pumps.csv", READINGS)
    predict(found, bearing_temperature="85")
    sections = found.locator("#answers section")
    expect(sections).to_have_count(2)
    expect(sections.first).to_contain_text(told(READINGS))
    expect(sections.last).to_contain_text("Bearing metal temperature 85 °C" + told(hotter(READINGS, 85.0)))
    expect(sections.last).to_contain_text("What the RUL hangs on")
    expect(sections.last.get_by_title(golden.release()[0].sha256)).to_be_visible()
    predict(found, bearing_temperature="95")
    compared = found.locator("#compared")
    expect(compared.locator("table tr")).to_have_count(4)
    expect(compared.locator("svg rect")).to_have_count(3)
    expect(compared).to_contain_text("Bearing metal temperature 95 °C")
    picture(found, "viewer")
    found.set_viewport_size({"width": PHONE, "height": 900})
    assert found.evaluate("document.documentElement.scrollWidth") == PHONE, "nothing is wider than a phone"
    found.set_viewport_size({"width": WIDTH, "height": 1000})
    violations = Axe().run(found).response["violations"]
    assert [v["help"] for v in violations if v["impact"] in ("serious", "critical")] == []
    rows = on_record(viewer.centre, 3)
    assert {(row["mode"], row["subject"]) for row in rows} == {
        ("exploration", "exploration/csv/coolant_pump")
    }
    lake = LakeReader(viewer.centre.layout.lake)
    assert lake.rows("SELECT 1 FROM predictions UNION ALL SELECT 1 FROM alerts") == []


def on_record(centre: Centre, predictions: int) -> list[dict[str, object]]:
    """The newest entries, once there are so many."""
    deadline = time.monotonic() + SEEN_WITHIN_MS / 1000
    while time.monotonic() < deadline:
        rows = ask(centre.layout, Question(event="prediction"))
        if len(rows) >= predictions:
            return rows
        time.sleep(0.1)
    raise TimeoutError(f"not {predictions} predictions on the record")


def test_what_is_wrong_is_said_with_its_remedy(viewer, found, tmp_path):
    """A file too short, a type without a model, input unlike the training data, a server that is away."""
    found.goto(viewer.url)
    load_file(found, tmp_path / "short.csv", READINGS[:5])
    alert = found.get_by_role("alert")
    expect(alert).to_contain_text("short.csv: found 5 cycles: too few.")
    choose(found, "TX01/R1/heat_exchanger")
    expect(alert).to_contain_text("no published model")
    expect(alert).to_contain_text("control-plane release propose")
    choose(found, golden.PUMP.key)
    expect(found.locator("#told")).to_contain_text("newest 30 cycles")
    predict(found, vibration_rms="60")
    last = found.locator("#answers section").last
    expect(last).to_contain_text("No number")
    expect(last).to_contain_text("Withheld: input unlike the training data")
    expect(last).not_to_contain_text("cycles of remaining useful life")
    viewer.end_inference.set()
    predict(found, vibration_rms="61")
    expect(alert).to_contain_text("control-plane serve --part inference")
    expect(found.locator("#tag-vibration_rms input")).to_have_value("61")


def choose(found: Page, component: str) -> None:
    found.get_by_role("tab", name="A component of the fleet").click()
    found.get_by_label("Component", exact=True).click()
    found.get_by_role("option", name=component).click()
    found.get_by_role("button", name="Load its newest cycles").click()


def picture(found: Page, name: str) -> None:
    """Kept for the documents: `make pictures`."""
    if folder := os.environ.get("PICTURES"):
        found.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
