"""Analyses: Graph → facts. They read a graph and change nothing."""
