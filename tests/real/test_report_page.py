"""The HTML report in a real browser: what is shown, in light and dark and on paper, and that nothing in it runs."""

import html.parser
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib

import pytest

from conftest import ROOT

UNTIL = "2026-11-22T10:00:00Z"
PATIENCE = 120
BINARY = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
LIGHT, DARK = (0xFF, 0xFF, 0xFF), (0x14, 0x17, 0x1C)


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A folder with a configuration, keys with hostile titles, and a log in which one key leaks."""
    folder = tmp_path_factory.mktemp("office")
    maker = ROOT / "tests/bench/ledger.py"
    subprocess.run([sys.executable, maker, folder, "--lines", "20000", "--until", UNTIL.replace("Z", "+00:00")], check=True)
    return folder


@pytest.fixture(scope="module", params=["review", "key"])
def page(office, request):
    wanted = ["--key", "leaked01", "--since", "2026-11-19T10:00:00Z"] if request.param == "key" else []
    file = office / f"{request.param}.html"
    command = [BINARY, "report", "--until", UNTIL, *wanted, "--html", file]
    subprocess.run(command, cwd=office, check=True, timeout=PATIENCE)
    return file


@pytest.fixture
def browse(tmp_path):
    program = shutil.which("chromium")
    assert program, "missing real part: chromium"

    def run(page, *arguments):
        # The sandbox needs a user that is not root; the page is a file of ours.
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [program, "--headless=new", *as_root, "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", *arguments, page.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        said = done.stderr.decode(errors="replace")
        assert not re.search(r"Content.Security.Policy|Uncaught|Refused to", said), said
        return done.stdout.decode()

    return run


class Seen(html.parser.HTMLParser):
    """Elements and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def first_pixel(png):
    """The upper left corner of a PNG: whatever filter its row has, nothing stands before it."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return tuple(zlib.decompress(data)[1:4])


def test_the_browser_sees_text_and_plots_and_no_markup_of_strangers(page, browse):
    seen = Seen(browse(page, "--dump-dom"))
    tags = {tag for tag, _ in seen.elements}
    assert not tags & {"script", "img", "iframe", "link", "object", "embed", "form", "a"}
    assert {"svg", "rect", "table", "h1", "h2"} <= tags
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on") or name == "style"]
    assert 'Payment "gateway" <script>alert(1)</script>' in seen.text


@pytest.mark.parametrize("scheme, background", [(0, DARK), (1, LIGHT)])
def test_it_has_a_light_and_a_dark_face(page, browse, tmp_path, scheme, background):
    picture = tmp_path / "page.png"
    browse(page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
    assert first_pixel(picture.read_bytes()) == background, "the style applies"


def test_it_can_be_printed(page, browse, tmp_path):
    paper = tmp_path / "page.pdf"
    browse(page, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", content)) >= 2
