"""Renderers: a report as text. No file is opened here; the table is walked once, each format gives row and cell."""
