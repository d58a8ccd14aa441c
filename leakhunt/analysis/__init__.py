"""Analyses: pure functions, model in, model out."""
