"""Read archives that may be hostile: zip and tar, plain or gzipped. Nothing is ever written under an archive's names.

What an archive says of itself (sizes, counts, paths) is never believed: bytes are counted while they are unpacked, and
every cap ends the unpacking at once. One bad member is refused by its name; the rest of the archive is read on.
"""

import gzip
import io
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .ingest import Refused, shown
from .reading import MAX_BYTES

_CHUNK = 1 << 16
_MAX_NAME = 1024  # characters of a member's path
_MAX_HEADER = 1 << 16  # bytes of one extended tar header; tarfile reads it whole and searches it slowly
_DIRECTORY_ENTRY = 512  # bytes of a zip's directory that one member may need
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
)
_TAR_KINDS = (
    (tarfile.TarInfo.issym, "a symbolic link"),
    (tarfile.TarInfo.islnk, "a hard link"),
    (tarfile.TarInfo.isfifo, "a named pipe"),
    (tarfile.TarInfo.isdev, "a device"),
)


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    Attributes:
        entries: members of any kind.
        file: bytes of one member.
        total: bytes of all members together.
        ratio: unpacked bytes for each packed one, of a member larger than `free` bytes.
    """

    entries: int
    total: int
    file: int = MAX_BYTES
    ratio: int = 200
    free: int = 1 << 20


CLASS = Limits(entries=100_000, total=16 << 30)  # a download of all that a class handed in
OWN = Limits(entries=5_000, total=256 << 20)  # one student's own archive


@dataclass(frozen=True)
class Member:
    """A file in an archive. `refusal` is the sentence for whoever put it there; such a member is not read.

    Attributes:
        name: as the archive has it, printable.
        parts: of its path; empty where the path itself is refused.
    """

    name: str
    parts: tuple[str, ...] = ()
    refusal: str | None = None


def archive_kind(head: bytes) -> str:
    """What the first 512 bytes of a file say it is: zip, gzip, tar, the name of a kind that is not read, or ""."""
    if head[257:262] == b"ustar":
        return "tar"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def path_parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path; Refused if it leaves the archive or cannot be a file's name."""
    parts = tuple(p for p in name.replace("\\", "/").split("/") if p not in ("", "."))
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        raise Refused(f"{shown(name)} has an absolute path; pack the notebook itself.")
    if ".." in parts:
        raise Refused(f"{shown(name)} points outside the archive; pack the notebook itself.")
    if any(unicodedata.category(c) == "Cc" or c in _DIRECTIONS for c in name):
        raise Refused(f"{shown(name)} has control characters in its name; rename it.")
    if not parts or len(name) > _MAX_NAME or any(len(p.encode("utf-8", "replace")) > 255 for p in parts):
        raise Refused(f"{shown(name)} cannot be a file's name; rename it.")
    return tuple(unicodedata.normalize("NFC", p) for p in parts)


class ZipArchive:
    """A zip archive's members, and their bytes on demand. Refused if it is none, or lies about its layout."""

    def __init__(self, source: BinaryIO, limits: Limits) -> None:
        self.limits, self.unpacked = limits, 0
        try:
            end = zipfile._EndRecData(source)  # what ZipFile itself reads first
            if end is None:
                raise Refused("It is no zip archive, or was cut off; download or pack it again.")
            if end[zipfile._ECD_SIZE] > limits.entries * _DIRECTORY_ENTRY:
                raise Refused(f"It holds more than {limits.entries:,} files.")
            self._zip = zipfile.ZipFile(source)
        except _DAMAGE:
            raise Refused("It is no zip archive, or is damaged; download or pack it again.") from None
        infos = self._zip.infolist()
        if len(infos) > limits.entries:
            raise Refused(f"It holds more than {limits.entries:,} files.")
        self._check_layout(infos, self._zip.start_dir)
        names = Counter(i.filename for i in infos)
        self._infos: dict[Member, zipfile.ZipInfo] = {}
        for number, info in enumerate(infos):
            if info.is_dir() and not info.file_size:
                continue
            member = self._member(info, names)
            if member in self._infos:  # the refused twins of a duplicate
                member = Member(f"{member.name} ({number})", refusal=member.refusal)
            self._infos[member] = info

    @property
    def members(self) -> list[Member]:
        return list(self._infos)

    def read(self, member: Member) -> bytes:
        """A member's bytes; Refused if it is refused, breaks a limit, or does not match its checksum."""
        if member.refusal is not None:
            raise Refused(member.refusal)
        info = self._infos[member]
        try:
            with self._zip.open(info) as stream:
                return self._bounded(stream, member.name, info.compress_size)
        except _DAMAGE:
            raise Refused(f"{shown(member.name)} is damaged in the archive; hand it in again.") from None

    def _bounded(self, stream: BinaryIO, name: str, packed: int) -> bytes:
        parts, size = [], 0
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            self.unpacked += len(chunk)
            if size > self.limits.file:
                raise Refused(f"{shown(name)} unpacks to more than {self.limits.file >> 20} MiB.")
            if size > self.limits.free and size > self.limits.ratio * packed:
                raise Refused(f"{shown(name)} unpacks to more than {self.limits.ratio} times its size.")
            if self.unpacked > self.limits.total:
                raise Refused(f"The archive unpacks to more than {self.limits.total >> 20} MiB.")
            parts.append(chunk)
        return b"".join(parts)

    @staticmethod
    def _check_layout(infos: list[zipfile.ZipInfo], end: int) -> None:
        """Members that share bytes make a small archive unpack to anything. Source: D. Fifield, "A better zip bomb"."""
        reached = 0
        for info in sorted(infos, key=lambda i: i.header_offset):
            if info.header_offset < reached:
                raise Refused("Its files overlap in the archive; pack it again.")
            reached = info.header_offset + 30 + len(info.orig_filename) + info.compress_size
        if reached > end:
            raise Refused("A file in it is longer than the archive; pack it again.")

    @staticmethod
    def _member(info: zipfile.ZipInfo, names: Counter[str]) -> Member:
        name = info.orig_filename
        try:
            parts = path_parts(name)
        except Refused as err:
            return Member(_printable(name), refusal=str(err))
        refusal = None
        mode = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
        if mode not in (0, stat.S_IFREG):
            kind = "a symbolic link" if mode == stat.S_IFLNK else "a device, a pipe or a socket"
            refusal = f"{shown(name)} is {kind}, not a file; pack the notebook itself."
        elif info.flag_bits & 0x41:
            refusal = f"{shown(name)} is encrypted; hand it in without a password."
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            refusal = f"{shown(name)} is packed in an unusual way; pack it as a plain zip."
        elif names[info.filename] > 1:
            refusal = f"{shown(name)} is in the archive {names[info.filename]} times."
        return Member(_printable(name), parts, refusal)


def read_tar(raw: bytes, limits: Limits) -> Iterator[tuple[Member, bytes]]:
    """Each file of a tar or tar.gz archive with its bytes; what is refused comes with none.

    Refused, after what could be read, when the archive is damaged, cut off or breaks a limit.
    """
    stream = _Counted(raw, limits)
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            for count, info in enumerate(archive):
                if count >= limits.entries:
                    raise Refused(f"It holds more than {limits.entries:,} files.")
                if info.isdir():
                    continue
                member = _tar_member(info, limits)
                content = b""
                if member.refusal is None and (file := archive.extractfile(info)) is not None:
                    content = file.read()
                yield member, content
    except Refused:
        raise
    except (tarfile.TarError, *_DAMAGE, OSError):
        raise Refused("It is no tar archive, is damaged, or was cut off; pack it again.") from None


def holds_tar(raw: bytes) -> bool:
    """Whether a gzip file is a packed tar archive, and not one packed file."""
    try:
        return archive_kind(gzip.GzipFile(fileobj=io.BytesIO(raw)).read(512)) == "tar"
    except (*_DAMAGE, OSError):
        return False


def read_gzip(raw: bytes, limits: Limits) -> bytes:
    """The one file that was packed by gzip; Refused if it is damaged, cut off or breaks a limit."""
    stream, parts, size = _Counted(raw, limits), [], 0
    try:
        while chunk := stream.read():
            size += len(chunk)
            if size > limits.file:
                raise Refused(f"It unpacks to more than {limits.file >> 20} MiB.")
            parts.append(chunk)
    except Refused:
        raise
    except (*_DAMAGE, OSError):
        raise Refused("It is damaged or was cut off; hand in the notebook itself.") from None
    return b"".join(parts)


def _tar_member(info: tarfile.TarInfo, limits: Limits) -> Member:
    name = _printable(info.name)
    try:
        parts = path_parts(info.name.encode("utf-8", "replace").decode())
        kind = next((words for test, words in _TAR_KINDS if test(info)), None)
        if kind or not info.isreg():
            raise Refused(
                f"{shown(name)} is {kind or 'no plain file'}, not a file; pack the notebook itself."
            )
        if info.size > limits.file:
            raise Refused(f"{shown(name)} unpacks to more than {limits.file >> 20} MiB.")
        tarfile.data_filter(info, "/submission")
    except (Refused, tarfile.FilterError) as err:
        return Member(name, refusal=str(err))
    return Member(name, parts)


class _Header(tarfile.TarInfo):
    """tarfile's header, but one that takes long to understand is refused before it is read."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or (self.type not in tarfile.SUPPORTED_TYPES and self.type not in _KNOWN_TYPES):
            raise Refused("It is no tar archive, or is damaged; pack it again.")
        if self.type in _EXTENDED and self.size > _MAX_HEADER:
            raise Refused("A name in it is too long; pack the notebook itself.")
        return super()._proc_member(archive)

    def _refuse_sparse(self, *arguments: object) -> tarfile.TarInfo:
        raise Refused("It holds a sparse file; pack the notebook itself.")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_KNOWN_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class _Counted(io.RawIOBase):
    """The bytes of a tar archive, gunzipped if need be, and no more of them than the limits allow."""

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self._packed, self._limits, self._size = len(raw), limits, 0
        source = io.BytesIO(raw)
        self._source = gzip.GzipFile(fileobj=source) if archive_kind(raw[:512]) == "gzip" else source

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_HEADER * 16:
            size = _MAX_HEADER * 16
        chunk = self._source.read(size)
        self._size += len(chunk)
        limits = self._limits
        if self._size > limits.total:
            raise Refused(f"The archive unpacks to more than {limits.total >> 20} MiB.")
        if self._size > 4 * limits.free and self._size > limits.ratio * self._packed:
            raise Refused(f"The archive unpacks to more than {limits.ratio} times its size.")
        return chunk


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)
