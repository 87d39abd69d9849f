"""Catalyst N1: an open digital design (FPGA) whose cores run 1,024 LIF or current-based neurons each."""
