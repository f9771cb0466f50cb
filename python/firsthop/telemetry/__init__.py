"""What operators see: logs that tell a call's story, metrics that count packets."""
