"""Synaptic operations of a network while it runs: how often a spike meets a weight, with gradients to the spikes."""

from snnkit.synapses.meter import Meter

__all__ = ["Meter"]
