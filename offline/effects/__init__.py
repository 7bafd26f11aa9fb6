"""Effects on music: typed chains of them, read from presets."""
