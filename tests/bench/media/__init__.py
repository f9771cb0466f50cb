"""Tests of the media benchmark."""
