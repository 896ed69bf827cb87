"""MNIST from a folder or a download: the standard files, proved by the digest of their content."""

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch

from gradatim._check import checked, require, require_type
from gradatim.data.bundled import Dataset

ENVIRONMENT = "GRADATIM_MNIST"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SECONDS_WITHOUT_A_BYTE = 30


@dataclass(frozen=True)
class StandardFile:
    """One of the four files: its name, the size and the sha256 of its decompressed content."""

    name: str
    size: int
    sha256: str


FILES = {
    "train images": StandardFile(
        "train-images-idx3-ubyte",
        16 + 60_000 * 784,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train labels": StandardFile(
        "train-labels-idx1-ubyte",
        8 + 60_000,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test images": StandardFile(
        "t10k-images-idx3-ubyte",
        16 + 10_000 * 784,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test labels": StandardFile(
        "t10k-labels-idx1-ubyte",
        8 + 10_000,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def default_folder() -> Path:
    """Where MNIST is looked for: the folder that GRADATIM_MNIST names, else ~/.cache/gradatim/mnist."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else Path.home() / ".cache" / "gradatim" / "mnist"


@checked
def load_mnist(
    folder: str | os.PathLike[str] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Dataset, Dataset]:
    """The 60 000 training and the 10 000 test digits of MNIST, from a folder.

    Args:
        folder: holds the four standard files, plain or as .gz; None means `default_folder()`.
        dtype: floating dtype of the features.
        device: where the tensors live.

    Returns:
        Training set and test set. Features are grey values divided by 255, shape (N, 784), row by row (so
        `x.view(-1, 1, 28, 28)` are images); targets are the digits 0 to 9, int64.

    Raises:
        FileNotFoundError: a file is not there. ValueError: a file that is not the standard one.
        TypeError: a dtype that is not floating-point.
    """
    require_type(dtype.is_floating_point, "load_mnist", "dtype", "a floating-point dtype", dtype)
    place = default_folder() if folder is None else Path(folder)
    arrays = {what: read_idx(_content(place, file)) for what, file in FILES.items()}
    train, test = (
        Dataset(
            name=f"mnist {part}",
            x=arrays[f"{part} images"].to(device=device, dtype=dtype).div_(255).flatten(1),
            y=arrays[f"{part} labels"].to(device=device, dtype=torch.int64),
            feature_names=tuple(f"pixel_{row}_{column}" for row in range(28) for column in range(28)),
            class_names=tuple("0123456789"),
        )
        for part in ("train", "test")
    )
    return train, test


def _content(folder: Path, file: StandardFile) -> bytes:
    """The proved, decompressed content of one file, from the plain file or from the .gz beside it."""
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        if path.is_file():
            content = _decompressed(path, file.size)
            digest = hashlib.sha256(content).hexdigest()
            rule = f"the standard MNIST file, of sha256 {file.sha256} when decompressed"
            require(digest == file.sha256, "load_mnist", str(path), rule, f"sha256 {digest}")
            return content
    raise FileNotFoundError(
        f"load_mnist: folder must hold {file.name} or {file.name}.gz, got {str(folder)!r}; "
        f"set {ENVIRONMENT} to the right folder, or call download_mnist()"
    )


def _decompressed(path: Path, size: int) -> bytes:
    """At most one byte more than expected: a damaged or hostile archive must not fill the memory."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return stream.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as reason:
        raise ValueError(f"load_mnist: {path} must be a whole gzip file, got {reason}") from reason


def read_idx(content: bytes) -> torch.Tensor:
    """Unsigned bytes in the IDX format: two zero bytes, 0x08, the number of dimensions, their sizes, the values.

    Args:
        content: a whole file, unpacked.

    Returns:
        The values, uint8, in the shape that the header says.

    Raises:
        TypeError: something else than bytes.
        ValueError: a header that is not IDX of bytes, or a length that does not fit it.

    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    tensor([7, 8, 9], dtype=torch.uint8)
    """
    require_type(isinstance(content, bytes), "read_idx", "content", "bytes", type(content).__name__)
    head = content[:4]
    ok = len(head) == 4 and head[:3] == b"\x00\x00\x08" and len(content) >= 4 + 4 * head[3]
    require(ok, "read_idx", "content", "in the IDX format, of unsigned bytes", head)
    start = 4 + 4 * head[3]
    shape = struct.unpack(f">{head[3]}I", content[4:start])
    length = 1
    for size in shape:
        length *= size
    require(
        len(content) - start == length, "read_idx", "content", f"{length} values long", len(content) - start
    )
    if not length:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)


@checked
def download_mnist(folder: str | os.PathLike[str] | None = None, *, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Fetch the files that are not there yet, prove them, and only then give them their names.

    An interrupted download leaves `NAME.gz.part`; the next call goes on from there where the server can. A
    file appears under its own name in one step, complete and proved, so that no other process ever reads half of one.

    Args:
        folder: made when it is not there; None means `default_folder()`.
        mirrors: addresses of folders with the four .gz files, tried in order.

    Returns:
        The folder.

    Raises:
        ConnectionError: no mirror gave a file, with the last reason. ValueError: no mirror in the list.
    """
    several = isinstance(mirrors, Sequence) and not isinstance(mirrors, str)
    urls = several and all(isinstance(mirror, str) for mirror in mirrors)
    require_type(urls, "download_mnist", "mirrors", "a sequence of addresses", mirrors)
    require(len(mirrors) > 0, "download_mnist", "mirrors", "not empty", list(mirrors))
    place = default_folder() if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for file in FILES.values():
        if not _is_there(place, file):
            _download(place, file, mirrors)
    return place


def _is_there(folder: Path, file: StandardFile) -> bool:
    try:
        _content(folder, file)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _download(folder: Path, file: StandardFile, mirrors: Sequence[str]) -> None:
    part = folder / f"{file.name}.gz.part"
    reason: Exception = ValueError("nothing was tried")
    # Every mirror twice: a part that another server or a damaged line began makes the first attempt fail.
    for mirror in [mirror for mirror in mirrors for _ in range(2)]:
        try:
            _append(f"{mirror.rstrip('/')}/{file.name}.gz", part)
            _prove(part, file)
        except (OSError, HTTPException, ValueError) as failure:
            reason = failure
            continue
        (folder / file.name).unlink(missing_ok=True)  # a plain file that was not the standard one
        os.replace(part, folder / f"{file.name}.gz")
        return
    raise ConnectionError(
        f"download_mnist: mirrors must deliver {file.name}.gz, got {type(reason).__name__}: {reason}"
    ) from reason


def _append(url: str, part: Path) -> None:
    """Go on where the part ends if the server agrees, else begin anew."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_WITHOUT_A_BYTE) as answer:
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )
            expected = answer.headers.get("Content-Length")
            before = have if goes_on else 0
            with open(part, "ab" if goes_on else "wb") as stream:
                while block := answer.read(1 << 16):
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            got = part.stat().st_size - before
            if expected is not None and got < int(expected):
                raise ConnectionError(f"the connection ended after {got} of {expected} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:  # 416: the part is as long as the file already; the digest decides
            raise


def _prove(part: Path, file: StandardFile) -> None:
    """Check the digest of the content; a part that is wrong is removed, so that the next attempt begins anew."""
    try:
        with gzip.open(part) as stream:
            digest = hashlib.sha256(stream.read(file.size + 1)).hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error) as reason:
        digest = f"none, for it is not a whole gzip file ({reason})"
    if digest != file.sha256:
        part.unlink()
        raise ValueError(f"a file whose content has the sha256 {digest}, not {file.sha256}")
