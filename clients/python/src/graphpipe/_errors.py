"""What a call can raise. Each carries the server's own words."""

from __future__ import annotations


class GraphPipeError(Exception):
    """The base of all errors of a call; the text is one line.

    `code` is the number of the error in docs/protocol.md ("Errors"), or None where the failure is
    on this side or the server did not say.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class InvalidInput(GraphPipeError, ValueError):
    """The request does not fit the model, or cannot be sent: a name, type, shape or size.

    A model that is Python code raises it to refuse its inputs.
    """


class NotFound(GraphPipeError, LookupError):
    """The server has no such model, version or path."""


class Unavailable(GraphPipeError, ConnectionError):
    """No connection, a connection that was lost, or a server that is shutting down."""


class Busy(Unavailable):
    """The server has no room now; the request was not run and may be sent again later."""


class DeadlineExceeded(GraphPipeError, TimeoutError):
    """The time for the call is over."""


class ModelError(GraphPipeError, RuntimeError):
    """The model or the server failed on a valid request."""


class ProtocolError(GraphPipeError):
    """The answer is not GraphPipe's, or is broken."""


_BY_CODE = {
    1: InvalidInput,
    2: InvalidInput,
    4: NotFound,
    6: DeadlineExceeded,
    7: InvalidInput,
    8: InvalidInput,
    9: ModelError,
    10: ModelError,
    11: ModelError,
    12: Unavailable,
    13: Busy,
    14: Busy,
    15: Unavailable,
    16: DeadlineExceeded,
}
_BY_STATUS = {
    400: InvalidInput,
    404: NotFound,
    408: DeadlineExceeded,
    413: InvalidInput,
    429: Busy,
    431: InvalidInput,
    500: ModelError,
    501: ModelError,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}
_MAX_CHARACTERS = 500


def one_line(text: str) -> str:
    """Somebody else's text as one line of visible characters."""
    cut = text.strip()[:_MAX_CHARACTERS]
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in cut)


def refusal(status: int, code: int | None, text: str) -> GraphPipeError:
    """The error for an answer with this HTTP status, and the code and words of its body."""
    kind = _BY_CODE.get(code or 0) or _BY_STATUS.get(status, GraphPipeError)
    return kind(one_line(text) or f"HTTP {status}, without a reason", code)
