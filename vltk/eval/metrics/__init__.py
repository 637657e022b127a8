"""What tasks are scored by, in percent, one idea a file.

Metrics of samples take `counts` (..., N), how often each sample is drawn, and then give (...): one implementation for
the value and for its resamples (vltk.eval.statistics). Without it each counts once, and a metric gives one number.
"""
