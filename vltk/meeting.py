"""How the ranks of a job find one another: in a store at MASTER_ADDR, through the network interface that leads there.

The store may be older than this start of the ranks: that of torchrun lives on when it starts them again, and it still
holds the addresses of those before. So rank 0 gives each start a name, which a rank gets by knocking with a fresh key.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
import uuid
from datetime import timedelta

import torch.distributed as torch_dist

from vltk.errors import VltkError

PATIENCE = timedelta(minutes=5)  # in which all ranks have to have come
POLL = 0.05
SIOCGIFADDR = 0x8915


def meet() -> tuple[torch_dist.Store, int, int]:
    """What the ranks of this start alone have of the store, this rank, and how many there are.

    Raises VltkError where the port is taken, the address is not reached, or some ranks do not come.
    """
    where = f"{os.environ.get('MASTER_ADDR', 'MASTER_ADDR, not set,')} port {os.environ.get('MASTER_PORT', '')}"
    try:
        store, rank, world = next(torch_dist.rendezvous("env://", timeout=PATIENCE))
        name = _name_of_start(store, world) if rank == 0 else _knock(store, rank)
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error) or "ddress already in use" in str(error):
            raise VltkError(f"{where} is in use by another program: set MASTER_PORT to another number") from error
        raise VltkError(
            f"the ranks did not meet at {where} within {PATIENCE.seconds // 60} minutes: see that every node runs the "
            f"same command and reaches that address ({str(error).splitlines()[0]})"
        ) from error
    return torch_dist.PrefixStore(name, store), rank, world


def _name_of_start(store: torch_dist.Store, world: int) -> str:
    """Rank 0: answers every knock with the name of this start, until all other ranks have come with it."""
    name = uuid.uuid4().hex
    deadline = time.monotonic() + PATIENCE.seconds
    missing, answered = list(range(1, world)), set[bytes]()
    while missing and time.monotonic() < deadline:
        for rank in missing:
            if store.check([f"knock/{rank}"]) and (key := store.get(f"knock/{rank}")) not in answered:
                answered.add(key)
                store.set(f"answer/{key.decode()}", name)
        missing = [rank for rank in missing if not store.check([f"{name}/come/{rank}"])]
        if missing:
            time.sleep(POLL)
    if missing:
        some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise VltkError(f"{len(missing)} of {world} ranks did not come within {PATIENCE.seconds // 60} minutes: {some}")
    return name


def _knock(store: torch_dist.Store, rank: int) -> str:
    """Any other rank: the name of the start that it belongs to."""
    key = uuid.uuid4().hex
    store.set(f"knock/{rank}", key)
    store.wait([f"answer/{key}"], PATIENCE)
    name = store.get(f"answer/{key}").decode()
    store.set(f"{name}/come/{rank}", "")
    return name


def choose_interface() -> None:
    """gloo would take the address that the name of this machine stands for, which often is 127.0.1.1; between several
    machines it is told the interface that leads to the first of them, unless the user has named one."""
    address = os.environ.get("MASTER_ADDR", "localhost")
    if "GLOO_SOCKET_IFNAME" in os.environ or os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        return
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((address, 9))  # sends nothing
            own = way.getsockname()[0]
            names = [name for _, name in socket.if_nameindex() if _address(way, name) == own]
    except OSError:
        return
    if names and not own.startswith("127."):
        os.environ["GLOO_SOCKET_IFNAME"] = names[0]


def _address(way: socket.socket, interface: str) -> str:
    """The IPv4 address of an interface; empty where it has none."""
    try:
        asked = fcntl.ioctl(way.fileno(), SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
    except OSError:
        return ""
    return socket.inet_ntoa(asked[20:24])
