"""A clean end of the interpreter.

CPython before 3.14 kills a foreign thread that is about to take the interpreter's lock while it shuts down, and a
killed thread aborts a Rust program. So nodes that still run are stopped first, and threads inside are waited for.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from typing import Any

from . import _ffi
from ._ffi import musig as _interface

_generated: Any = _interface
_started: weakref.WeakSet[_ffi.Node] = weakref.WeakSet()
_inside: dict[object, bool] = {}


def watch(node: _ffi.Node) -> None:
    """Stops the node at exit, unless it was stopped."""
    _started.add(node)


def forget(node: _ffi.Node) -> None:
    """It is stopped."""
    _started.discard(node)


def _continue(handle: int, code: int) -> None:
    """What UniFFI's own continuation does; and says, while it does, that a thread is inside."""
    place = object()
    _inside[place] = True
    try:
        loop, future = _generated._UniffiContinuationHandleMap.remove(handle)
        loop.call_soon_threadsafe(_generated._uniffi_set_future_result, future, code)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        pass
    # A statement, not a call: after it, this thread does not give the interpreter's lock away before it is outside.
    del _inside[place]


_generated._uniffi_continuation_callback = _generated._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK(_continue)


async def _stop_all() -> None:
    async def stop(node: _ffi.Node) -> None:
        try:
            await node.stop()
        except _ffi.MusigError:
            pass

    await asyncio.wait([asyncio.ensure_future(stop(node)) for node in list(_started)], timeout=10)


@atexit.register
def _leave() -> None:
    if len(_started) > 0:
        asyncio.run(_stop_all())
    end = time.monotonic() + 5
    while (_inside or len(_generated._UniffiContinuationHandleMap) > 0) and time.monotonic() < end:
        time.sleep(0.001)


def _forget_all() -> None:
    """What runs in the parent does not run in its child."""
    for node in list(_started):
        _started.discard(node)
    _inside.clear()
    handles = _generated._UniffiContinuationHandleMap
    handles.__init__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
