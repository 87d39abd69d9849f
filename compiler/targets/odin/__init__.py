"""ODIN and tinyODIN: 256 neurons on one core, driven by single events."""
