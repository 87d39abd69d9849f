"""Triton sources. Importing them needs triton; the launchers do so when a kernel is asked to run."""
