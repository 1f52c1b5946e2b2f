"""Shared by all tests. That this file is here puts `tests/` on the import path, where `parity.py` lies."""
