"""How sure a value is, and whether two differ: intervals, resamples, paired tests, effects that a test set can show."""
