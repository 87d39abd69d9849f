"""Triton sources. Importing them needs triton; ``fused_triton`` does so when a kernel is asked to run."""
