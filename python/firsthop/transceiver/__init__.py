"""The transceiver: owns the sessions, and joins callers with agents."""
