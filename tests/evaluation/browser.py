"""Chromium without a screen, to look at a page as its readers do. Where it is absent, what needs it is skipped."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
QUIET = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync")

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium-headless-shell")


def browse(page: Path, *options: str, width: int = 1200, height: int = 2400) -> str:
    """Open a page, with a profile of its own; returns what the browser prints on stdout."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *QUIET]
    command += [
        f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={width},{height}",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def screenshot(page: Path, target: Path, dark: bool = False, **size: int) -> None:
    """A picture of the page's beginning."""
    browse(page, f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={target}", **size)


def requested(page: Path, log: Path) -> set[str]:
    """The addresses that the browser asked for when it showed the page, as its own log tells."""
    browse(page, f"--log-net-log={log}", "--net-log-capture-mode=Everything", "--dump-dom")
    about = json.loads(log.read_text())
    kinds = about["constants"]["logEventTypes"]
    assert kinds["URL_REQUEST_START_JOB"] and about["events"]
    return {event["params"]["url"] for event in about["events"] if event.get("params", {}).get("url")}
