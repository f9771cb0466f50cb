"""The gateway: signaling's entry for all clusters. It steers, holds no keys and keeps no state."""
