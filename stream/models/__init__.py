"""Neural models behind small typed calls, and the voices on disk."""
