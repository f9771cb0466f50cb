"""`firsthop bench turn`: how long an answer takes, stage by stage, and whose share that is."""
