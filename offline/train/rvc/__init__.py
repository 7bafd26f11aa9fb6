"""RVC's own networks and losses, for voices that other programs can use too."""
