"""Errors that are shown to the user: a sentence that names the problem and the remedy."""

import errno
from pathlib import Path


class AugmentError(Exception):
    """Something is wrong with the environment or the data. The command line exits with 3."""

    exit_code = 3

    def __str__(self) -> str:
        """The message, with addresses in place of their copies' paths."""
        from augment.base.storage.addresses import shown  # which raises errors of this module

        return shown(super().__str__())


class UsageError(AugmentError):
    """The request is invalid: a wrong key, a bad value. The command line exits with 2."""

    exit_code = 2


class Refused(AugmentError):
    """The system refuses for now. Nothing is wrong with the file itself, so it must not count as failed."""


_AGAIN = "run the same command again."
_FAR = (errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH)  # fmt: skip
_FOR_NOW = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, *_FAR)
_ELSEWHERE = "Choose another folder."
_REFUSALS = {
    errno.ENOSPC: f"the disk is full. Free some space and {_AGAIN}",
    errno.EDQUOT: f"your quota on this disk is used up. Free some space and {_AGAIN}",
    errno.EFBIG: f"the file would become larger than is allowed here. Raise the limit (ulimit -f) and {_AGAIN}",
    errno.EROFS: f"the file system is read-only. {_ELSEWHERE}",
    errno.EACCES: "no permission. Change that, or choose another folder.",
    errno.EPERM: "no permission. Change that, or choose another folder.",
    errno.ENOTDIR: f"a part of that path is a file, not a folder. {_ELSEWHERE}",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter name and folder.",
    errno.EMFILE: f"too many files are open. Raise the limit (ulimit -n 4096) and {_AGAIN}",
    errno.ENFILE: f"too many files are open on this machine. Close other programs and {_AGAIN}",
    errno.ENOMEM: f"too little memory. Close other programs and {_AGAIN}",
    errno.EIO: f"the disk reports an error. Check it, or copy what is there to another one, and {_AGAIN}",
    **dict.fromkeys(_FAR, f"the network or its file system does not answer. Check the connection, and {_AGAIN}"),
}


# Where a library tells it in its own words: torch, the dynamic loader, the C library, Python's threads, Arrow.
_NO_MEMORY = ("can't allocate memory", "failed to map segment", "Cannot allocate memory", "can't start new thread",
              "Failed to launch worker thread", "malloc of size")  # fmt: skip


def refusal(error: OSError, path: Path | str | None = None) -> AugmentError | None:
    """What to tell where the operating system refused; None where the cause is none of the known ones.

    :class:`Refused` where the same call may succeed later.

    ``path``: the file concerned, for errors that name none.
    """
    reason = _REFUSALS.get(error.errno or 0)
    if reason is None:
        return None
    where = path or error.filename
    kind = Refused if error.errno in _FOR_NOW else AugmentError
    return kind(f"{where}: {reason}" if where else reason)


def out_of_memory(error: BaseException) -> AugmentError | None:
    """What to tell where memory ran out, on the CPU or on a GPU; None where something else went wrong."""
    on_gpu = type(error).__name__ == "OutOfMemoryError"  # torch's; this module does not wait for its import
    if on_gpu or isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
        what = "the GPU is out of memory" if on_gpu else "out of memory"
        return Refused(f"{what}. Close other programs or set a smaller batch_size or "
                       f"gan.width (--dry-run shows what is needed), and {_AGAIN}")  # fmt: skip
    return None
