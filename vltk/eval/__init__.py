"""Evaluation: task cards over a few protocols, run on trained models, written to results.jsonl."""
