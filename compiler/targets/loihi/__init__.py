"""The LIF cores of Loihi, in the arithmetic of lava-nc 0.10 ``fixed_pt``."""
