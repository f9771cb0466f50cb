"""Calls from answer to end: what is heard and said, and what everyone at a call is told."""
