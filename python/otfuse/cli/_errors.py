# SPDX-License-Identifier: BSD-3-Clause
"""What ends a command: each failure becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno

OK, JOB_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_BAD_INPUT_ERRNO = {
    errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR,
    errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip


class UsageError(Exception):
    """Bad arguments or bad input: exit code 2."""


class JobError(Exception):
    """The arguments were right and the job failed: exit code 1."""


def explain(error: Exception) -> tuple[str, int]:
    """One line for stderr, and the exit code.

    Parameters
    ----------
    error : Exception
        Whatever ended the command.
    """
    if hasattr(error, "format_message"):  # typer's own, for arguments it could not parse
        text, code = str(error.format_message()), int(getattr(error, "exit_code", BAD_INPUT))
        text = text.replace("Value error, ", "")
    elif isinstance(error, UsageError | ValueError | TypeError):
        text, code = str(error), BAD_INPUT
    elif isinstance(error, OSError):
        text, code = _explain_os(error)
    elif isinstance(error, MemoryError):
        text = f"out of memory ({error}); give --max-memory, or crop the image"
        code = JOB_FAILED
    elif isinstance(error, JobError | RuntimeError):
        text, code = str(error), JOB_FAILED
    else:
        text, code = f"unexpected {type(error).__name__}: {error}", JOB_FAILED
    return " ".join(text.split()) or type(error).__name__, code


def _explain_os(error: OSError) -> tuple[str, int]:
    code = BAD_INPUT if error.errno in _BAD_INPUT_ERRNO else JOB_FAILED
    reason = error.strerror or str(error)
    return (f"{reason}: {error.filename}" if error.filename else reason), code
