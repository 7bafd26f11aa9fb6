"""Text spoken by a voice."""
