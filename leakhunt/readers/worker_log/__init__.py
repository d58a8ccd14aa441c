"""What workers, and those who supervise them, log of what they do and how they die."""
