"""Hands tensors and small objects from one executor to others, each through the sidecar beside it.

    import torch
    from sidecar import Sidecar, SidecarConfig

    sidecar = Sidecar(SidecarConfig(sidecar_rank=0, send_tensor_shape=(-1, 4096), send_tensor_dtype=torch.bfloat16))
    sidecar.send(hidden, id="request-1", dst_sidecar_ranks=[[2, 3], [4]])

    # and over there, as rank 2 of the group [2, 3]
    hidden = await sidecar.recv(id="request-1")
    ...
    await sidecar.mark_done(id="request-1")
"""

from sidecar._calls import Pending, Sent
from sidecar._config import SidecarConfig
from sidecar._errors import (
    AlreadyDone,
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    IoError,
    NoSpace,
    NotFound,
    PeerLost,
    ProtocolError,
    SidecarError,
    Timeout,
    Unauthorized,
    Unavailable,
)
from sidecar._mock import MockSidecar
from sidecar._sidecar import Allocation, Sidecar
from sidecar._stream import Stream

__all__ = [
    "Allocation",
    "AlreadyDone",
    "AlreadyExists",
    "Cancelled",
    "InvalidArgument",
    "IoError",
    "MockSidecar",
    "NoSpace",
    "NotFound",
    "PeerLost",
    "Pending",
    "ProtocolError",
    "Sent",
    "Sidecar",
    "SidecarConfig",
    "SidecarError",
    "Stream",
    "Timeout",
    "Unauthorized",
    "Unavailable",
]
