"""Optimizers whose states take one byte a number, one file each: equation, settings, and what a step multiplies by.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861).
"""
