"""What runs inside somebody's worker: the standard library alone, cheap, and unable to make things worse."""
