"""Image–text pairs: contrastive training whose batch is not bounded by memory (``losses``, ``two_pass``, ``pairs``)."""
