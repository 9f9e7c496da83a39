"""What the gateway adds to a request: `python -m benchmarks.gateway`."""
