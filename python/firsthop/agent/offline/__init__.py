"""Stages without network, keys and downloads."""
