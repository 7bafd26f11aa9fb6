"""Where this user's voices, models and presets live. Light: loads no model."""

import os
from pathlib import Path

import platformdirs


def default_home() -> Path:
    """`TIMBRAL_HOME`, else this user's data folder."""
    chosen = os.environ.get("TIMBRAL_HOME")
    return Path(chosen) if chosen else platformdirs.user_data_path("timbral")
