"""The interface's description as a page to read: HTML alone, so it needs no other server.

FastAPI's own page loads its program from a CDN. There it is blank where the internet is not
reached, and tells somebody else who looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

#: Sessions nest deeper; docs/realtime.md is about those.
_DEPTH: Final = 3
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
#: The colours of the demo page.
_STYLE: Final = """
:root { color-scheme: light dark; --ground: #eef2ef; --surface: #fbfdfb; --ink: #10211c;
  --quiet: #4d5e57; --rule: #cdd8d2; --verb: #0b6b58;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1412; --surface: #141d1a;
  --ink: #e7efeb; --quiet: #a0b1a9; --rule: #2a3833; --verb: #66d3b8; } }
* { box-sizing: border-box; }
body { max-width: 860px; min-width: 320px; margin: 0 auto; padding: clamp(16px, 2.4vw, 28px);
  background: var(--ground); color: var(--ink); overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.375rem; letter-spacing: -0.02em; }
h2 { margin: 28px 0 8px; font-size: 0.9375rem; }
h3 { margin: 16px 0 4px; font-size: 0.8125rem; color: var(--quiet); }
p { margin: 4px 0; }
a { color: var(--verb); }
details { margin: 0 0 8px; background: var(--surface); border: 1px solid var(--rule);
  border-radius: 10px; }
summary { padding: 10px 16px; cursor: pointer; }
summary p { margin: 2px 0 0; color: var(--quiet); font-size: 0.875rem; }
details > div { padding: 0 16px 14px; border-top: 1px solid var(--rule); font-size: 0.875rem; }
code, .path { font: 0.875em ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; }
.verb { display: inline-block; min-width: 5em; color: var(--verb); font-weight: 650; }
.quiet { color: var(--quiet); }
dl { display: grid; grid-template-columns: minmax(6em, auto) 1fr; gap: 2px 16px; margin: 0; }
dd { margin: 0; color: var(--quiet); }
ul { margin: 0; padding-left: 18px; }
@media (max-width: 560px) { .wide { grid-template-columns: 1fr; } .wide dd { margin-bottom: 8px; } }
"""


def add(app: FastAPI) -> None:
    """Serve the page at /docs."""
    page: list[str] = []

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        if not page:  # Made when it is first wanted: nobody waits for it at the start.
            page.append(rendered(app.openapi()))
        return HTMLResponse(page[0], headers=_HEADERS)


def rendered(description: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI description, as HTML."""
    info = description["info"]
    title = escape(info["title"])
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: API reference</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}: API reference</h1><p>{_text(info.get('summary', ''))}</p>",
            '<p class="quiet">The same for programs: <a href="openapi.json">openapi.json</a>, ',
            f"OpenAPI {escape(str(description['openapi']))}.</p>",
            *_schemes(description.get("components", {}).get("securitySchemes", {})),
            *_operations(description),
            "</body></html>",
        ]
    )


def _schemes(schemes: Mapping[str, Any]) -> Iterator[str]:
    if not schemes:
        return
    yield '<h2>Credentials</h2><dl class="wide">'
    for name, scheme in schemes.items():
        header = "Authorization: Bearer …" if scheme["type"] == "http" else f"{name}: …"
        told = scheme.get("description", "The same, as Azure's clients show it.")
        yield f"<dt><code>{escape(header)}</code></dt><dd>{_text(told)}</dd>"
    yield "</dl>"


def _operations(description: Mapping[str, Any]) -> Iterator[str]:
    tag = ""
    for path, operations in description["paths"].items():
        for verb, operation in operations.items():
            if (other := operation.get("tags", [""])[0]) != tag:
                tag = other
                yield f"<h2>{escape(tag)}</h2>"
            yield f'<details><summary><span class="verb">{escape(verb.upper())}</span>'
            yield f'<span class="path">{escape(path)}</span>'
            yield f"<p>{_text(operation.get('description', ''))}</p></summary><div>"
            yield from _parameters(operation.get("parameters", []))
            yield from _bodies("Request", operation.get("requestBody", {}))
            yield from _answers(operation["responses"])
            yield "</div></details>"


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield '<h3>Parameters</h3><dl class="wide">'
    for parameter in parameters:
        told = f"{parameter['in']}. {parameter.get('description', '')}"
        yield f"<dt><code>{escape(parameter['name'])}</code></dt><dd>{_text(told)}</dd>"
    yield "</dl>"


def _bodies(title: str, holder: Mapping[str, Any]) -> Iterator[str]:
    for kind, body in holder.get("content", {}).items():
        yield f"<h3>{title}, <code>{escape(kind)}</code></h3>"
        yield from _schema(body.get("schema", {}), _DEPTH)


def _answers(answers: Mapping[str, Any]) -> Iterator[str]:
    yield "<h3>Answers</h3><dl>"
    for status, answer in answers.items():
        headers = ", ".join(answer.get("headers", {}))
        told = answer["description"] + (f" Headers: {headers}." if headers else "")
        yield f"<dt>{escape(status)}</dt><dd>{_text(told)}</dd>"
    yield "</dl>"


def _schema(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    fields = schema.get("properties", {})
    if told := schema.get("description", ""):
        yield f"<p>{_text(told)}</p>"
    if not fields or depth == 0:
        return
    required = schema.get("required", [])
    yield "<ul>"
    for name, field in fields.items():
        needed = ", required" if name in required else ""
        yield f"<li><code>{escape(name)}</code> "
        yield f'<span class="quiet">{escape(_kind(field))}{needed}</span>'
        yield from _schema(field, depth - 1)
        yield "</li>"
    yield "</ul>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _text(told: str) -> str:
    """Escape, and let what is between backticks be code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(told))
