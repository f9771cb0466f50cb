"""An unmodified Chromium with a fake microphone, and the page in it that places calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from firsthop.bench import chromium
from firsthop.bench.errors import BenchError
from firsthop.bench.impairment import Path as UdpPath

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, Route

_DO: Final = "([name, given]) => calls[name](...given)"
_SCRIPT: Final = Path(__file__).with_name("page.js")
_DOCUMENT: Final = """<!doctype html><link rel="icon" href="data:,"><script type="module">
import * as calls from "/bench-setup.js";
window.calls = calls;
</script>"""


class CallPage:
    """A page that came from the server that it calls."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def call(self, door: str, way: UdpPath) -> dict[str, Any]:
        """Place a call, and hang up; see ``page.js``.

        Args:
            door: The path that offers are sent to.
            way: How its packets go.

        Returns:
            What it ``reached``, in milliseconds from the POST, and statistics of its transport.

        Raises:
            BenchError: It was refused.
        """
        places: list[str] = await self.do("offer")
        if not places:
            raise BenchError("the browser has no IPv4 address to call from")
        # It takes the first one: they are in the order of their priority.
        clients = [way.admit(place) for place in places]
        where = {"path": door, "client": clients[0], "server": way.address}
        found: dict[str, Any] = await self.do("place", where)
        return found

    async def do(self, name: str, *given: object) -> Any:
        """Call a function of the page; see ``page.js``.

        Raises:
            BenchError: It fails.
        """
        from playwright.async_api import Error

        try:
            return await self._page.evaluate(_DO, [name, given])
        except Error as error:
            raise BenchError(f"the page could not call: {error.message}") from None


class Browser:
    """A browser that runs."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context

    @property
    def version(self) -> str:
        """As it says it."""
        browser = self._context.browser
        return browser.version if browser else "unknown"

    @asynccontextmanager
    async def page(
        self, origin: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[CallPage]:
        """Open the page as if `origin` had served it, so that its calls ask nobody (CORS).

        Args:
            origin: The server's.
            headers: What all its requests carry besides.
        """
        page = await self._context.new_page()
        await page.set_extra_http_headers(dict(headers or {}))
        await page.route(f"{origin}/bench-setup*", _served)
        try:
            await page.goto(f"{origin}/bench-setup.html")
            await page.wait_for_function("() => window.calls !== undefined")
            await page.evaluate("() => calls.prepare()")
            yield CallPage(page)
        finally:
            await page.close()


async def _served(route: Route) -> None:
    if route.request.url.endswith(".js"):
        await route.fulfill(content_type="text/javascript", body=_SCRIPT.read_text())
    else:
        await route.fulfill(content_type="text/html", body=_DOCUMENT)


@asynccontextmanager
async def browser(
    folder: Path, flags: Sequence[str] = (), starter: Callable[[str], Path] = Path
) -> AsyncIterator[Browser]:
    """Run a browser with a profile in `folder`.

    Args:
        folder: Where it is.
        flags: For it, besides our own.
        starter: Given the browser's path, returns that of the program that starts it.

    Raises:
        BenchError: Chromium or Playwright is missing.
    """
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise BenchError("no browser without Playwright: `make bench` installs it") from None
    if (program := chromium.program()) is None:
        raise BenchError(chromium.MISSING)
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder,
            executable_path=starter(program),
            args=[*chromium.FLAGS, *chromium.MICROPHONE, *flags],
        )
        try:
            yield Browser(context)
        finally:
            await context.close()
