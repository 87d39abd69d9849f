"""The compiler's verbs of the command ``snnkit``, one file each; entry points in pyproject.toml name them."""
