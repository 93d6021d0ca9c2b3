"""Logs of a service: lines for people, or JSON objects for programs."""

from __future__ import annotations

import json
import logging
from typing import TextIO


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix, seconds), level, logger, message, and the error."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(kind: str, stream: TextIO) -> None:
    """Write all logs of snnet to a stream, as "text" or "json"."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter()
        if kind == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger("snnet")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
