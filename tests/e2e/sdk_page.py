"""A page with the unmodified Agents SDK, as an application uses it: tests/e2e/sdk."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Page

from e2e import http
from e2e.chromium import TalkingPage, empty_page
from e2e.pages import origin, served
from e2e.sound import Samples, silence, wav
from e2e.waiting import until

FOLDER = Path(__file__).with_name("sdk")
#: What the SDK ships for browsers that load it without a build step.
_BUNDLE = FOLDER / "node_modules/@openai/agents-realtime/dist/bundle"

Event = dict[str, Any]


class SdkPage(TalkingPage):
    """An application on the SDK: it has an agent with two tools, and a session."""

    HANDLE = "app"
    TRACK = "window.app.track()"

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        #: Warnings and errors in the browser's console, where the SDK logs.
        self.complaints: list[str] = []
        page.on("console", self._note)

    async def connect(self, url: str, key: str, **options: object) -> str:
        """Place a call; returns once the session is ready, with the call's id.

        Args:
            url: Of the HTTP that offers calls.
            key: An ephemeral one: the SDK takes no other.
            options: `config` of the session, as the SDK names it; `voice` false for the
                browser's microphone instead of `say`.
        """
        arguments = {"url": f"{url}/v1/realtime/calls", "apiKey": key, **options}
        return str(await self.do("connect", arguments))

    async def connect_by_socket(self, url: str, key: str) -> None:
        """Do the same without WebRTC."""
        address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model=any"
        await self.do("connect", {"url": address, "apiKey": key, "socket": True})

    async def say(self, samples: Samples) -> None:
        """Speak into the microphone; returns when it was said."""
        await self.do("say", base64.b64encode(wav(samples)).decode())

    async def log(self, name: str) -> list[Any]:
        """Return what the application has noted so far under `name`."""
        noted: list[Any] = await self.page.evaluate("(name) => window.app.log[name]", name)
        return noted

    async def event(
        self, kind: str, matches: Callable[[Event], bool] = lambda event: True, *, number: int = 1
    ) -> Event:
        """Wait for the `number`-th of the server's events of a type that match."""

        async def found() -> Event | None:
            events: list[Event] = await self.log("events")
            fitting = [event for event in events if event["type"] == kind and matches(event)]
            return fitting[number - 1] if len(fitting) >= number else None

        return await until(found, f"a fitting {kind}, {number} times", 60)

    async def count(self, kind: str) -> int:
        """Return how many events of a type there were."""
        return sum(event["type"] == kind for event in await self.log("events"))

    async def history(self) -> list[Mapping[str, Any]]:
        """Return the conversation as the SDK tells it."""
        history: list[Mapping[str, Any]] = await self.do("history")
        return history

    async def check_that_all_was_understood(self) -> None:
        """Assert that no event was unknown to the SDK's schemas, and that it had no complaint."""
        problems = [*await self.log("unknown"), *await self.log("errors"), *self.complaints]
        assert not problems, problems

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"warning", "error"}:
            self.complaints.append(message.text)


@asynccontextmanager
async def sdk_page(
    folder: Path, port: int, microphone: Samples | None = None
) -> AsyncIterator[SdkPage]:
    """Run a browser on the page, which comes from `port`: another origin than the calls'.

    Args:
        folder: For the browser's own files.
        port: Where the page is served.
        microphone: What the browser's microphone hears once, from the call's start on.
    """
    assert _BUNDLE.is_dir(), f"the SDK is missing: `npm ci --prefix {FOLDER}`"
    with served(FOLDER, port):
        async with empty_page(folder, silence(1) if microphone is None else microphone) as page:
            app = SdkPage(page)
            await app.open(f"{origin(port)}/page.html")
            yield app


async def client_secret(url: str, api_key: str = "") -> str:
    """Do what an application's own server does for its browsers: get a key for one of them."""
    async with http.client() as client:
        response = await client.post(
            f"{url}/v1/realtime/client_secrets",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            json={"session": {"type": "realtime"}},
        )
    assert response.status_code == 200, response.text
    return str(response.json()["value"])
