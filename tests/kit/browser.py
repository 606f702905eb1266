"""A page in headless Chromium: what it looks like at some widths, and what its console says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: pages are not looked at")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
         "--enable-logging=stderr")  # fmt: skip
WRAPPER = """<body><script>
const found = {{}};
for (const width of {widths}) {{
  const frame = document.createElement("iframe");
  Object.assign(frame.style, {{width: width + "px", height: "900px", border: "0"}});
  frame.src = {page};
  frame.onload = () => {{
    const inside = frame.contentDocument, images = [...inside.images];
    found[width] = {{across: inside.documentElement.scrollWidth, images: images.map(i => i.naturalWidth),
                     shown: images.map(i => i.getBoundingClientRect().width), text: inside.body.innerText,
                     size: parseFloat(getComputedStyle(inside.body).fontSize)}};
    document.title = JSON.stringify(found);
  }};
  document.body.append(frame);
}}
</script></body>"""


def looked_at(page: Path, tmp_path: Path, widths: tuple[int, ...] = (400, 1600)) -> tuple[dict[str, Any], list[str]]:
    """Return {width: what is seen} and the lines of the console."""
    assert CHROMIUM is not None
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.format(widths=list(widths), page=json.dumps(page.resolve().as_uri())))
    ended = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=15000", "--dump-dom",
         wrapper.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", ended.stdout, re.DOTALL)
    assert title, ended.stderr[-2000:]
    console = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    found = json.loads(unescape(title[1]))
    assert found.keys() == {str(width) for width in widths}
    return found, console
