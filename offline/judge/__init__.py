"""What a conversion is worth: how it sounds, who speaks, on what melody, with which words."""
