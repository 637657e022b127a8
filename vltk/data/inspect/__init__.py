"""Looking at data sets: whether they are whole (verify), what is in them (stats, preview), what repeats (dedup)."""
