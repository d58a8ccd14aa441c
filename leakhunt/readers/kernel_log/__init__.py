"""Kernel logs in any wrapping: bytes in, kills out, in one pass and constant memory."""
