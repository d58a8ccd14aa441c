"""Snapshots taken in a forked child: the fork, the room for it, the file."""
