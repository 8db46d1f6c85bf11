"""GraphPipe's client for Python."""

from ._errors import GraphPipeError, ProtocolError

__version__ = "2.0.0"
__all__ = ["GraphPipeError", "ProtocolError"]
