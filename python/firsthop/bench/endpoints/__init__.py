"""Three OpenAI-compatible endpoints that do what they are told, for tests and for benchmarks.

They listen on a real port, speak HTTP/1.1, and answer as their models would, without any: the same
seed makes the same delays. In a test::

    async with serving(Script(transcript="What time is it?", reply="It is noon.")) as endpoints:
        ChatSettings(url=endpoints.url, ...)            # http://127.0.0.1:port/v1
        endpoints.fail("speech", Fault("hang"), times=1)
        await endpoints.until(lambda: endpoints.open == 0)
        endpoints.answers[-1].parts_ms                   # when each part of it was sent

- `Script` says what is answered: constants, or functions of what was asked; `in_turn` takes one
  after the other. `Reply` has tool calls. `Delay` is fixed or lognormal.
- `Endpoints.fail` makes one of the three go wrong (`Fault` lists how), `mend` ends that; `stop`
  closes the port, `start` opens the same one again.
- `Endpoints.open`, `connections` and `left` count requests in flight, TCP connections, and clients
  that went away within an answer; `asked` has the last requests (`headers` and `paths` what came
  with them), `answers` what became of them.
- `Endpoints.until` waits for any of it without looking again and again.

As a process: ``python -m firsthop.bench.endpoints --port 8090 --seed 1 --first-token-ms 200``.
``GET /delays`` then returns `answers` as JSON; times are of the machine's monotonic clock.
``GET /seeds/7`` forgets them, and draws from seed 7 as if nothing had been asked yet. Each answer
also says in ``x-delay-ms`` what was drawn for its first part.

Bodies of answers are small and fixed in form, so what they take beyond the delays is well under a
millisecond. Speech is a buzz that can be heard from its first sample on, 15 characters a second.
"""

from firsthop.bench.endpoints.performance import Answer
from firsthop.bench.endpoints.script import (
    Delay,
    Delays,
    Fault,
    Heard,
    Reply,
    Script,
    Stage,
    in_turn,
)
from firsthop.bench.endpoints.server import Endpoints, serving

__all__ = [
    "Answer",
    "Delay",
    "Delays",
    "Endpoints",
    "Fault",
    "Heard",
    "Reply",
    "Script",
    "Stage",
    "in_turn",
    "serving",
]
