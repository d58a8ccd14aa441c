"""Readers: bytes in, model out; each returns values or raises a LeakhuntError."""
