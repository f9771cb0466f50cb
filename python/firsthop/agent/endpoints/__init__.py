"""Stages by OpenAI-compatible HTTP."""
