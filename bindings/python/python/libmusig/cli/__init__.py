"""The console command ``musig``."""

from __future__ import annotations

import asyncio
import sys

from ..errors import MusigError
from .options import parser
from .output import Ended, warn


def main(words: list[str] | None = None) -> int:
    """Runs a command. Errors are one line, and the status 1."""
    arguments = parser().parse_args(words)
    try:
        result = arguments.run(arguments)
        return int(asyncio.run(result)) if asyncio.iscoroutine(result) else int(result)
    except Ended as ended:
        return ended.status
    except (MusigError, OSError, ValueError) as error:
        warn(" ".join(str(error).split()))
        return 1
    except KeyboardInterrupt:
        return 130
