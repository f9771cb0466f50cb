"""The relay's control plane: starts it, watches it, stops it. Never sees a packet."""
