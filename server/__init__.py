"""The WebSocket service around `stream`."""
