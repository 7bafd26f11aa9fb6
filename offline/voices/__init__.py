"""Voices mixed, compared and looked into."""
