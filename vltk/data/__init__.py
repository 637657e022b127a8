"""Data: raw input to shards, shards to batches. Knows neither models nor objectives."""
