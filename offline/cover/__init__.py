"""A song in, a cover out: a plan of steps, each kept in the cache, and what runs it."""
