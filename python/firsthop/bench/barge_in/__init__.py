"""`firsthop bench barge-in`: how soon the agent is silent once the caller speaks."""
