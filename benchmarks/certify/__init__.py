"""Whether certified thresholds keep their promise, and how much they retain: `python -m
benchmarks.certify`. `ours` and `rivals` choose thresholds on the same resamples of `populations`.
"""
