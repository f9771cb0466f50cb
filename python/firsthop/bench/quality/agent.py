"""The agent of firsthop's listener: it says nothing, and keeps what it is handed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from firsthop.bench.quality.listeners import FOLDER, path_of
from firsthop.bench.quality.recording import Recorder
from firsthop.call import AudioFrame, Call


async def listen(call: Call) -> None:
    """Keep each frame with the moment at which it was handed over."""
    recorder = Recorder(call.sample_rate)
    try:
        async for event in call:
            if isinstance(event, AudioFrame):
                recorder.take(np.frombuffer(event.pcm, dtype="<i2"), time.monotonic())
    finally:
        recorder.save(path_of(call.id, Path(os.environ[FOLDER])))
