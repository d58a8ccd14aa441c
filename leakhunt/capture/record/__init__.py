"""The flight recorder: a line for each event, written at once."""
