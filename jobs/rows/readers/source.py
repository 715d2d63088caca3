"""The bytes and the text of an upload: decompressed, decoded and bounded on the way, never whole in memory."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import BadTable, Where
from jobs.rows.reading import ENCODINGS, IngestLimits

CHUNK = 1 << 20
LONGEST_LINE = 32_000_000  # characters; a line is held in memory, so it needs a bound of its own
_RATIO_FROM = 100_000_000
_BOMS = {"utf-8": codecs.BOM_UTF8, "utf-8-sig": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


@dataclass(frozen=True, slots=True)
class Source:
    """An upload on disk and how it is packed."""

    path: Path
    compression: str
    limits: IngestLimits

    def chunks(self) -> Iterator[bytes]:
        """Yield the inflated bytes. Raises BadTable when the packing is broken or opens to more than allowed."""
        stored, opened = self.path.stat().st_size, 0
        try:
            with self._open() as stream:
                while chunk := stream.read(CHUNK):
                    opened += len(chunk)
                    self._check_size(stored, opened)
                    yield bytes(chunk)
        except EOFError as error:
            raise self._broken("it ends in the middle") from error
        except (gzip.BadGzipFile, zlib.error, pa.ArrowInvalid) as error:
            raise self._broken("its data is damaged") from error
        except OSError as error:
            if not self.compression or error.errno is not None:
                raise
            raise self._broken("it ends in the middle or is damaged") from error

    def _open(self) -> Any:  # gzip, Arrow and plain files share only `read`
        if self.compression == "gz":
            return gzip.open(self.path, "rb")
        if self.compression == "zst":
            return pa.CompressedInputStream(pa.OSFile(str(self.path), "rb"), "zstd")
        return self.path.open("rb")

    def _check_size(self, stored: int, opened: int) -> None:
        limits = self.limits
        if opened > limits.inflated_bytes or (self.compression and opened > _RATIO_FROM and opened > stored * limits.inflated_ratio):
            raise BadTable(
                f"The file opens to far more than its size: over {opened // 1_000_000:,} MB out of {stored:,} bytes.",
                Where(
                    None,
                    f"over {opened:,} bytes",
                    f"at most {min(limits.inflated_bytes, max(_RATIO_FROM, stored * limits.inflated_ratio)):,}",
                ),
                "Upload the table itself, in parts if need be.",
            )

    def _broken(self, what: str) -> BadTable:
        name = {"gz": "gzip", "zst": "Zstandard"}[self.compression]
        return BadTable(
            f"The {name} file cannot be opened to its end: {what}.",
            Where(None, what, f"a whole {name} file"),
            "Pack or upload the file again.",
        )

    def unpacked(self, folder: Path) -> Path:
        """A file that can be read from anywhere: the upload itself, or its content inflated into `folder`."""
        if not self.compression:
            return self.path
        target = folder / "inflated"
        with target.open("wb") as file:
            for chunk in self.chunks():
                file.write(chunk)
        return target

    def head(self, encoding: str, n_bytes: int = 65_536) -> str:
        """The start of the text, for a look: what is wrong with it is said by `texts`."""
        return next(self._without_bom(encoding), b"")[:n_bytes].decode(encoding, errors="replace")

    def texts(self, encoding: str, newline: str) -> Iterator[tuple[int, str]]:
        """Yield (line that the text starts in, text), each ending at a line's end but the last.

        `newline` says what ends a line: `lf` (with or without a CR), `cr` (with or without an LF), or `none`: texts end anywhere and
        lines, counted by LF, may be of any length.
        Raises BadTable with the line on bytes that the encoding does not have, on NUL, and on a line that is too long.
        """
        decoder = codecs.getincrementaldecoder("utf-8" if encoding == "utf-8-sig" else encoding)("strict")
        line, rest = 1, ""
        for chunk in self._without_bom(encoding):
            text = rest + self._decoded(decoder, chunk, encoding, line, rest, newline)
            cut = len(text) if newline == "none" else _last_end(text, newline)
            if cut == 0 and len(text) > LONGEST_LINE:
                raise BadTable(
                    f"Line {line} is longer than {LONGEST_LINE:,} characters.",
                    Where(line, f"over {LONGEST_LINE:,} characters", "a shorter line"),
                )
            rest = text[cut:]
            if cut:
                part = text[:cut]
                self._check_nul(part, line, newline)
                yield line, part
                line += n_lines(part, newline)
        rest += self._decoded(decoder, b"", encoding, line, rest, newline, final=True)
        if rest:
            self._check_nul(rest, line, newline)
            yield line, rest

    def _without_bom(self, encoding: str) -> Iterator[bytes]:
        bom = _BOMS.get(encoding, b"")
        first = True
        for chunk in self.chunks():
            yield chunk.removeprefix(bom) if first and bom else chunk
            first = False

    @staticmethod
    def _decoded(
        decoder: codecs.IncrementalDecoder, chunk: bytes, encoding: str, line: int, before: str, newline: str, final: bool = False
    ) -> str:
        try:
            return decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            whole = bytes(error.object)
            at = line + n_lines(before + whole[: error.start].decode(encoding.removesuffix("-sig"), errors="ignore"), newline)
            found = " ".join(f"0x{byte:02X}" for byte in whole[error.start : error.end][:4])
            name = ENCODINGS.get(encoding, encoding)
            raise BadTable(
                f"Line {at} has bytes that are not {name}: {found}.",
                Where(at, f"bytes {found}", f"text in {name}"),
                "Choose the encoding that the file was saved in, or save it as UTF-8.",
            ) from error

    @staticmethod
    def _check_nul(text: str, line: int, newline: str) -> None:
        at = text.find("\0")
        if at >= 0:
            line += n_lines(text[:at], newline)
            raise BadTable(
                f"Line {line} has a NUL character.",
                Where(line, "a NUL character", "text"),
                "The file is damaged or not text; save it again.",
            )


def n_lines(text: str, newline: str = "any") -> int:
    """How many line ends a text has: LF, CR (CRLF is one) or, with `any`, both."""
    if newline == "cr":
        return text.count("\r")
    n = text.count("\n")
    if newline == "any" and "\r" in text:
        n += text.count("\r") - text.count("\r\n")
    return n


def _last_end(text: str, newline: str) -> int:
    """Where the last whole line of a text ends; a CR at the very end may be half of a CRLF, so it waits."""
    if newline == "lf":
        return text.rfind("\n") + 1
    cut = text.rfind("\r", 0, len(text) - 1) + 1
    return cut + 1 if cut and text[cut] == "\n" else cut
