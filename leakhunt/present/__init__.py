"""Typed results as neutral reports for people, and as the documents of the JSON contract for programs."""
