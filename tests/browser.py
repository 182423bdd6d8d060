"""Pages in a real browser."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest


def browser() -> str:
    """The program; a test that needs it is skipped without, and fails there when INPAINT_SSL_REQUIRE_BROWSER=1."""
    found = next((b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None)
    if found is None:
        if os.environ.get("INPAINT_SSL_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium found, but INPAINT_SSL_REQUIRE_BROWSER=1")
        pytest.skip("no Chromium on this machine")
    return found


def run_browser(page: Path, width: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page without a screen in a window of that width."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    flags += ["--no-first-run", "--hide-scrollbars", "--enable-logging=stderr", f"--window-size={width},1000"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser(), *flags, f"--user-data-dir={profile}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def console_lines(run: subprocess.CompletedProcess[str]) -> list[str]:
    """What the page wrote to the console of the browser."""
    return [line for line in run.stderr.splitlines() if ":CONSOLE" in line]


def in_a_frame(page: Path, width: int, script: str, folder: Path) -> dict[str, Any]:
    """What `script`, put at the end of the page, leaves as JSON in parent.document.body.dataset.measured.

    A window cannot be narrower than 500 pixels, a frame can.
    """
    inner = html.escape(page.read_text(encoding="utf-8").replace("</body>", script + "</body>"))
    frame = f'<iframe style="border: 0; width: {width}px; height: 1000px" srcdoc="{inner}"></iframe>'
    (folder / "frame.html").write_text(f"<!doctype html><body>{frame}</body>")
    dom = run_browser(folder / "frame.html", 1500, "--dump-dom").stdout
    found = re.search(r'data-measured="([^"]*)"', dom[: dom.index("<iframe")])
    assert found is not None
    measured: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return measured
