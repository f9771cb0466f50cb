"""Calls: what is heard, said and told."""
