"""Programs that talk to the server."""
