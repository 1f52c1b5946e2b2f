"""Metrics and reports. Encoding and decoding never import it."""
