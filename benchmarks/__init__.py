"""Benchmarks of minigen against its peers: `python -m benchmarks`. See README.md."""
