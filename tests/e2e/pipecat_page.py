"""A page with an unmodified Pipecat client, as an application uses it: tests/e2e/pipecat."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from e2e.chromium import TalkingPage, empty_page
from e2e.pages import origin, served
from e2e.sound import Samples, silence, wav
from e2e.waiting import until

FOLDER = Path(__file__).with_name("pipecat")
_BUNDLER = FOLDER / "node_modules/.bin/esbuild"

Note = dict[str, Any]


class PipecatPage(TalkingPage):
    """An application on the client."""

    HANDLE = "app"
    TRACK = "window.app.track()"

    async def connect(self, url: str, **options: object) -> dict[str, Any]:
        """Place a call; returns what the bot says when it is ready.

        Args:
            url: Of the HTTP that offers calls.
            options: `start`, `key`, `microphone`, `told` and `tools`, as the page has them.
        """
        ready: dict[str, Any] = await self.do("connect", {"url": url, **options})
        return ready

    async def act(self, name: str, *arguments: object) -> Any:
        """Call a method of the client."""
        return await self.do("act", name, *arguments)

    async def say(self, samples: Samples) -> None:
        """Speak into the microphone; returns when it was said."""
        await self.do("say", base64.b64encode(wav(samples)).decode())

    async def notes(self, *names: str) -> list[Note]:
        """Return what callbacks were called with so far: of these names, or of all."""
        log: list[Note] = await self.page.evaluate("() => window.app.log")
        return [note for note in log if not names or note["name"] in names]

    async def given(self, name: str) -> list[Any]:
        """Return what a callback was given so far."""
        return [note["given"] for note in await self.notes(name)]

    async def note(
        self, name: str, matches: Callable[[Any], bool] = lambda given: True, *, number: int = 1
    ) -> Note:
        """Wait for the `number`-th call of a callback with what matches."""

        async def found() -> Note | None:
            fitting = [note for note in await self.notes(name) if matches(note["given"])]
            return fitting[number - 1] if len(fitting) >= number else None

        return await until(found, f"a fitting {name}, {number} times")


@asynccontextmanager
async def pipecat_page(
    folder: Path, port: int, microphone: Samples | None = None
) -> AsyncIterator[PipecatPage]:
    """Run a browser on the page, which comes from `port`: another origin than the calls'.

    Args:
        folder: For the browser's own files.
        port: Where the page is served.
        microphone: What the browser's microphone hears once, from the call's start on.
    """
    assert _BUNDLER.exists(), f"the client is missing: `npm ci --prefix {FOLDER}`"
    site = folder / "site"
    _build(site)
    with served(site, port):
        async with empty_page(folder, silence(1) if microphone is None else microphone) as page:
            app = PipecatPage(page)
            await app.open(f"{origin(port)}/page.html")
            yield app


def _build(site: Path) -> None:
    """Bundle the application and its packages, as an application's build step does."""
    site.mkdir()
    shutil.copy(FOLDER / "page.html", site)
    options = ("page.js", "--bundle", f"--outfile={site / 'bundle.js'}", "--log-level=warning")
    subprocess.run([_BUNDLER, *options], cwd=FOLDER, check=True)
