"""Nodes in children of a process that has a node, or had one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from multiprocessing.context import BaseContext
from typing import Callable

import libmusig
import pytest
from libmusig import events
from support import PATIENCE, offline, wait_event

inherited: list[libmusig.Node] = []
"""A node of the parent."""


async def sign_alone(index: int) -> str:
    async with offline(index) as node:
        session = await node.create_session([node.signer_key], messages=[bytes([7] * 32)])
        await wait_event(node, events.SessionComplete)
        return session.id()


def work(index: int) -> None:
    asyncio.run(sign_alone(index))


def work_beside_inherited(index: int) -> None:
    """The parent's node refuses, and goes; the own one works."""

    async def refused() -> None:
        for call in (inherited[0].metrics, inherited[0].stop, inherited[0].listen_addresses):
            with pytest.raises(libmusig.errors.Forked):
                await call()

    asyncio.run(refused())
    work(index)
    inherited.clear()


def in_child(context: BaseContext, target: Callable[[int], None]) -> None:
    child = context.Process(target=target, args=(1,))  # type: ignore[attr-defined]
    child.start()
    child.join(PATIENCE)
    hangs = child.exitcode is None
    if hangs:
        child.kill()
        child.join()
    assert not hangs, "the child hangs"
    assert child.exitcode == 0


async def start() -> libmusig.Node:
    node = offline(0)
    await node.start()
    return node


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_fork_child_of_a_stopped_node(method: str) -> None:
    asyncio.run(sign_alone(0))
    in_child(multiprocessing.get_context(method), work)
    asyncio.run(sign_alone(0))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_fork_child_of_a_running_node(method: str) -> None:
    node = asyncio.run(start())
    inherited.append(node)
    try:
        in_child(multiprocessing.get_context(method), work if method == "forkserver" else work_beside_inherited)
        assert asyncio.run(sign_alone(2))
    finally:
        inherited.clear()
        asyncio.run(node.stop())


def test_fork_child_leaves_the_interpreter() -> None:
    """The end of the interpreter in a child does not wait for the parent's node."""
    node = asyncio.run(start())
    try:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                from libmusig import _exit

                code = 0 if len(_exit._started) == 0 and not _exit._inside else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        asyncio.run(node.stop())
