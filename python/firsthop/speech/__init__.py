"""Hearing and making speech, offline: voice activity and an espeak-ng voice."""
