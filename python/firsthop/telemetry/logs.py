"""Logs: one line when something begins or ends, JSON unless a person watches.

Addresses, ufrags and keys never reach a log: nothing here is given one, and a test reads the logs
of whole calls to hold us to it.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(log_format: Literal["auto", "json", "console"]) -> None:
    """Set up logging for the process, our own and the libraries'."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=24)
        if console
        else structlog.processors.JSONRenderer()
    )
    shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say has the form of our own lines, for whatever reads them.
    handler = logging.StreamHandler(sys.stderr)
    plain = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[plain, renderer])
    )
    # uvicorn reports each request with its client's address: warnings are enough.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # mcp quotes what servers send, with tracebacks; what matters of it is in our own lines.
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
