"""Steering: which cluster serves a client, and by which ingress points its media goes there."""
