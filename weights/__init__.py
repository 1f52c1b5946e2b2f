"""Finds, verifies and loads weight bundles."""
