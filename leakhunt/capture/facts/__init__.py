"""What is known of a process beside its traces: who it is, its memory, its objects, and who holds them."""
