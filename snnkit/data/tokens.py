"""Texts as numbers: bytes, or byte pairs of a file of the ``tokenizers`` library.

    data.tokenizer=bytes              256 bytes of UTF-8; nothing to learn
    data.tokenizer=tokenizer.json     what ``train_bpe`` or anyone else wrote for that library; its own ids, one up

Token 0 is padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import atomic_path

Cut = tuple[Tensor, int]


class Bytes:
    """The bytes of a text in UTF-8, each one up."""

    vocabulary = 257

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; half a character, which JSON can hold, is a question mark."""
        return [byte + 1 for byte in text.encode("utf-8", errors="replace")]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text; a character that was cut in two becomes a sign for that."""
        return bytes(token - 1 for token in tokens if 0 < token < self.vocabulary).decode("utf-8", errors="replace")


class BytePairs:
    """A tokenizer file of the ``tokenizers`` library.

    Raises:
        InvalidArgumentError: the library is not installed.
        CorruptFileError: no such file, or none of that library.
    """

    def __init__(self, path: str | Path):
        self._inside: Any = _library().Tokenizer
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise CorruptFileError(f"data.tokenizer={path}: {reason}.") from None
        try:
            self._inside = self._inside.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise CorruptFileError(
                f"data.tokenizer={path}: is no file of the library tokenizers ({str(error).splitlines()[0]})."
            ) from None
        self._inside.no_truncation()  # texts are cut, and padded, here, where it is counted
        self._inside.no_padding()
        numbers = self._inside.get_vocab().values()
        self.path, self.vocabulary = str(path), max(numbers, default=0) + 2  # ids may leave numbers out

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.__init__(path)  # type: ignore[misc]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises:
            CorruptFileError: the file has no tokens for it, and none for what is unknown.
        """
        whole = text.encode("utf-8", errors="replace").decode("utf-8")
        try:
            found = self._inside.encode(whole).ids
        except Exception as error:  # the library raises nothing narrower
            raise CorruptFileError(
                f"data.tokenizer={self.path}: cannot read {whole[:40]!r} ({str(error).splitlines()[0]})."
            ) from None
        return [token + 1 for token in found]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text."""
        found: str = self._inside.decode([token - 1 for token in tokens if token > 0])
        return found


def make_tokens(name: str) -> Bytes | BytePairs:
    """Return what ``data.tokenizer`` names.

    Raises:
        InvalidArgumentError, CorruptFileError: neither "bytes" nor a file that can be read.
    """
    if name == "bytes":
        return Bytes()
    if not name.endswith(".json"):
        raise InvalidArgumentError(
            f"data.tokenizer={name}: must be bytes, or a .json file of the library tokenizers "
            "(snnkit.data.tokens.train_bpe writes one)."
        )
    return BytePairs(name)


def train_bpe(texts: Iterable[str], vocabulary: int, path: str | Path) -> BytePairs:
    """Learn byte pairs from texts, write them to ``path`` and return them; the same texts give the same file.

    Args:
        texts: to learn from.
        vocabulary: tokens, at least 257: the bytes are among them.
        path: of the .json file.

    Raises:
        InvalidArgumentError: too small a vocabulary, or the library is not installed.
        DiskError: the file could not be written.
    """
    if vocabulary < 257:
        raise InvalidArgumentError(f"vocabulary={vocabulary}: must be ≥ 257, since all 256 bytes are tokens.")
    library = _library()
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=vocabulary - 1, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    with atomic_path(path) as temporary:
        Path(temporary).write_text(made.to_str(), encoding="utf-8")
    return BytePairs(path)


def fitted(tokens: list[int], context: int) -> Cut:
    """Return tokens cut or padded to the context, int64 (L,), and how many were cut off."""
    row = torch.zeros(context, dtype=torch.int64)
    kept = tokens[:context]
    row[: len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return row, len(tokens) - len(kept)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise InvalidArgumentError(
            "byte pairs need the library tokenizers (pip install 'snnkit[text]'); data.tokenizer=bytes needs none."
        ) from None
    return tokenizers
