"""The Chromium of this machine: where it is, and how it is started for tests and benchmarks."""

from __future__ import annotations

import shutil
from typing import Final

#: Nothing of its own goes to the network, and pages may sound without being clicked at.
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
#: A microphone that nobody has to allow.
MICROPHONE: Final = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
#: What a user does who has none.
MISSING: Final = "Chromium is missing: `apt-get install chromium`"


def program() -> str | None:
    """Return the path of Chromium, or of Chrome; None where there is neither."""
    return shutil.which("chromium") or shutil.which("google-chrome")
