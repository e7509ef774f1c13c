"""The console command ``musig``."""

from __future__ import annotations

import asyncio
import logging
import sys

from ..errors import MusigError
from .config import settle
from .options import parser
from .output import Ended, Output, warn


def main(words: list[str] | None = None) -> int:
    """Runs a command. Errors are one line, and the status 1."""
    arguments = parser().parse_args(words)
    if arguments.verbose:
        level = logging.DEBUG if arguments.verbose > 1 else logging.INFO
        logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    try:
        settle(arguments)
        arguments.output = Output(arguments.json)
        result = arguments.run(arguments)
        return int(asyncio.run(result)) if asyncio.iscoroutine(result) else int(result)
    except Ended as ended:
        return ended.status
    except (MusigError, OSError, ValueError) as error:
        # What the library calls so is an option here.
        warn(" ".join(str(error).split()).replace("join with sign_blind", "give --sign-blind"))
        return 1
    except KeyboardInterrupt:
        return 130
