"""What a web UI keeps with us: one user's files and settings, below one folder."""
