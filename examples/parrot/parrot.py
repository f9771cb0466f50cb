"""An agent in a dozen lines: it plays the caller's words back, and learns how much was heard."""

import firsthop


async def parrot(call: firsthop.Call) -> None:
    """Repeat what the caller says, until the caller interrupts."""
    async for event in call:
        if isinstance(event, firsthop.SpeechEnded):
            played = await call.say(event.audio)
            print(f"played {played.ms} ms", "and was interrupted" if played.interrupted else "")


if __name__ == "__main__":
    firsthop.run(parrot)
