"""RTVI, which Pipecat's clients and bots speak beside the sound, and what it means in the contract.

No I/O but in `channel`: messages in, events of the Realtime contract out, and the other way round.
"""
