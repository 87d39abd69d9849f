"""Auditing: a network in whatever form it was published goes in, what it does and costs comes out."""
