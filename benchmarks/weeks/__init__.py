"""Years of weekly retraining: `python -m benchmarks.weeks`. `world` draws the weeks."""
