"""`firsthop bench recovery`: for how long calls are silent when something breaks."""
