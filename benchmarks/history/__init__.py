"""Benchmarks that are followed over commits by asv: see benchmarks/README.md."""
