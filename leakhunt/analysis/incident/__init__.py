"""Kills, signs and deaths from all sources, joined into one story; see ``story``."""
