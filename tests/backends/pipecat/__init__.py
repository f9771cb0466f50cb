"""Tests of the backend that is a Pipecat bot."""
