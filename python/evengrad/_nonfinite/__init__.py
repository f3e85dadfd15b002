"""What a failed step leads to: it is run once more, to say what was not finite first, and why."""
