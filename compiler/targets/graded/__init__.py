"""Cores of integer LIF neurons that send graded events: Loihi 2 as far as it is known, and meshes for design studies.

Quantising, lowering and mapping are those of ``targets.loihi``; what differs is the neuron (``arithmetic``), that an
event may carry a number, and that two event signals may be multiplied.
"""
