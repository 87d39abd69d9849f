"""What a network finds in images: a file for each kind of records, and the blocks that all of them are shown in.

To add a kind: a file with a function from records to blocks, and a line in ``kinds.KINDS``.
"""
