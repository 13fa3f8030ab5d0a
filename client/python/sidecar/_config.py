"""Settings of a client."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any, Literal

from sidecar import _tensors
from sidecar._errors import InvalidArgument

Shape = tuple[int, ...] | int


def _mock_from_environment() -> Mapping[str, str] | None:
    """CORNSERVE_MOCK_SIDECAR (1, true) and CORNSERVE_MOCK_SIDECAR_MAPPING (a JSON object)."""
    if os.environ.get("CORNSERVE_MOCK_SIDECAR", "0").lower() not in ("1", "true"):
        return None
    mapping = os.environ.get("CORNSERVE_MOCK_SIDECAR_MAPPING", "") or "{}"
    try:
        decoded = json.loads(mapping)
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"CORNSERVE_MOCK_SIDECAR_MAPPING: not JSON ({error})") from None
    if not isinstance(decoded, dict):
        raise InvalidArgument('CORNSERVE_MOCK_SIDECAR_MAPPING: not an object of "{id}-{chunk}" and file names')
    return {str(key): str(value) for key, value in decoded.items()}


@dataclass
class SidecarConfig:
    """What an executor says of itself. Shapes and dtypes are hints, for the sidecar to lay out its memory by; what is
    sent need not follow them.

    Args:
        sidecar_rank: the executor's sidecar. None: SIDECAR_RANK of the environment.
        group: all ranks of an executor that works on several, such as a tensor-parallel one, itself included. The
            sidecar of the smallest serves them all.
        send_tensor_shape, recv_tensor_shape: a tuple whose first dimension is free (-1) and whose others are one
            unit, such as (-1, hidden size); or an int, the elements of one unit. One of the two is needed. A tensor
            that is received is viewed in recv_tensor_shape, if it is given.
        send_tensor_dtype, recv_tensor_dtype: a torch dtype, a numpy dtype or the name of one. A tensor that is
            received has the dtype that it was sent with.
        concurrent_copy: every member of the group holds the whole tensor and copies its share of it.
        max_workers: of no effect: no call takes a thread.
        address: host:port of the sidecar's gRPC server. None: SIDECAR_ADDRESS, or port 10000 + rank on this host, or
            the host's name in the cluster where SIDECAR_IS_LOCAL is "false".
        timeout: seconds that a call takes at most unless it says otherwise; math.inf: for ever.
        connect_timeout: seconds to wait for a sidecar that is starting.
        tls_ca, tls_cert, tls_key: PEM files, for a sidecar that uses TLS.
        framework: what tensors are received as. None: as the dtypes above are; of names: torch if the program
            has imported it.
        allow_pickle: sends what has no other form as pickles, and loads those that it receives: only among programs
            that trust each other, since loading one can run the sender's code.
        writable_views: received tensors may be written. Others may be reading the same memory.
        debug: what is received is copied, and ends the process with a message when it is used after mark_done.
        reconnect: finds a sidecar that was restarted by itself.
        mock: no sidecar at all: "{id}-{chunk_id}" mapped to files (see MockSidecar), or a folder with such files.
            None: CORNSERVE_MOCK_SIDECAR and CORNSERVE_MOCK_SIDECAR_MAPPING of the environment.

    Raises:
        InvalidArgument (a ValueError).
    """

    sidecar_rank: int | None = None
    group: Sequence[int] | None = None
    send_tensor_shape: Shape | None = None
    send_tensor_dtype: Any = None
    recv_tensor_shape: Shape | None = None
    recv_tensor_dtype: Any = None
    concurrent_copy: bool = False
    max_workers: int = 8
    address: str | None = None
    timeout: float = 600.0
    connect_timeout: float = 30.0
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    framework: Literal["torch", "numpy"] | None = None
    allow_pickle: bool = False
    writable_views: bool = False
    debug: bool = False
    reconnect: bool = True
    mock: Mapping[str, str | os.PathLike[str]] | str | os.PathLike[str] | None = field(
        default_factory=_mock_from_environment
    )

    def __post_init__(self) -> None:
        if self.sidecar_rank is None:
            named = os.environ.get("SIDECAR_RANK", "")
            if not named.isdecimal():
                raise InvalidArgument("sidecar_rank: not given, and SIDECAR_RANK is not a rank (0, 1, ...)")
            self.sidecar_rank = int(named)
        self.group = sorted(self.group) if self.group is not None else [self.sidecar_rank]
        if any(not isinstance(rank, int) or rank < 0 for rank in self.group):
            raise InvalidArgument(f"group: {self.group} has a negative rank")
        if self.sidecar_rank not in self.group:
            raise InvalidArgument(f"group: {self.group} does not have the sidecar's own rank, {self.sidecar_rank}")
        if len(set(self.group)) != len(self.group):
            raise InvalidArgument(f"group: {self.group} has a rank twice")
        if self.max_workers <= 0:
            raise InvalidArgument("max_workers: not positive")
        if self.send_tensor_shape is None and self.recv_tensor_shape is None:
            raise InvalidArgument("send_tensor_shape, recv_tensor_shape: one of them is needed")
        self._check("send", self.send_tensor_shape, self.send_tensor_dtype)
        self._check("recv", self.recv_tensor_shape, self.recv_tensor_dtype)
        if self.framework not in (None, "torch", "numpy"):
            raise InvalidArgument(f"framework: {self.framework!r} is neither 'torch' nor 'numpy'")

    @staticmethod
    def _check(side: str, shape: Shape | None, dtype: Any) -> None:
        if (shape is None) != (dtype is None):
            raise InvalidArgument(f"{side}_tensor_shape, {side}_tensor_dtype: one without the other")
        if shape is None:
            return
        _tensors.dtype_code(dtype)
        if isinstance(shape, int):
            fits = shape > 0
        else:
            fits = len(shape) > 0 and (shape[0] == -1 or shape[0] > 0) and all(extent > 0 for extent in shape[1:])
        if not fits:
            raise InvalidArgument(f"{side}_tensor_shape: {shape} is neither (-1, ...) nor a number of elements")

    @staticmethod
    def _unit_bytes(shape: Shape | None, dtype: Any) -> int:
        if shape is None:
            return 0
        elements = shape if isinstance(shape, int) else prod(shape[1:])
        return elements * _tensors.dtype_bytes(_tensors.dtype_code(dtype))

    def receives_torch(self) -> bool:
        import sys

        if self.framework is not None:
            return self.framework == "torch"
        for dtype in (self.recv_tensor_dtype, self.send_tensor_dtype):
            if dtype is not None and not isinstance(dtype, str):
                return _tensors.is_torch_dtype(dtype)
        return "torch" in sys.modules

    def view_shape(self) -> tuple[int, ...] | None:
        """What received tensors are viewed in."""
        shape = self.recv_tensor_shape
        return (shape,) if isinstance(shape, int) else shape

    def client_settings(self) -> dict[str, Any]:
        """What the library is told."""
        assert self.group is not None
        settings: dict[str, Any] = {
            "rank": self.sidecar_rank,
            "group": list(self.group),
            "concurrent_copy": self.concurrent_copy,
            "send_unit_bytes": self._unit_bytes(self.send_tensor_shape, self.send_tensor_dtype),
            "recv_unit_bytes": self._unit_bytes(self.recv_tensor_shape, self.recv_tensor_dtype),
            "timeout": self.timeout if self.timeout >= 0 else inf,
            "connect_timeout": self.connect_timeout,
            "reconnect": self.reconnect,
            "writable_views": self.writable_views and not self.debug,
        }
        for name in ("tls_ca", "tls_cert", "tls_key"):
            if getattr(self, name):
                settings[name] = getattr(self, name)
        address = self.address or self._cluster_address(min(self.group))
        if address is not None:
            settings["address"] = address
        return settings

    @staticmethod
    def _cluster_address(leader: int) -> str | None:
        """As Cornserve names its sidecars in Kubernetes."""
        if os.environ.get("SIDECAR_IS_LOCAL", "true").lower() != "false" or os.environ.get("SIDECAR_ADDRESS"):
            return None
        service = os.environ.get("K8S_SIDECAR_SERVICE_NAME", "sidecar")
        namespace = os.environ.get("K8S_NAMESPACE", "cornserve")
        return f"sidecar-{leader}.{service}.{namespace}.svc.cluster.local:{10000 + leader}"
