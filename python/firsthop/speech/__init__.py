"""Hearing and making speech, offline: voice activity, an espeak-ng voice, and WAV files."""
