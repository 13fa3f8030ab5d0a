"""The package and its example are typed, and the stub says what the extension module has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BUILD

pytest.importorskip("mypy", reason="mypy is not installed for this Python")
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "client/python"


def check(tmp_path: Path, *arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(BUILD / "python"), "MYPYPATH": str(BUILD / "python"),
             "MYPY_CACHE_DIR": str(BUILD / "python" / ".mypy_cache")},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_package_passes_mypy_in_strict_mode(tmp_path: Path) -> None:
    check(tmp_path, "mypy", "--config-file", str(PACKAGE / "pyproject.toml"), "-p", "sidecar")


def test_the_example_passes_mypy_in_strict_mode(tmp_path: Path) -> None:
    check(tmp_path, "mypy", "--config-file=", "--strict", str(PACKAGE / "examples/pipeline.py"))


def test_the_stub_says_what_the_extension_module_has(tmp_path: Path) -> None:
    allowed = Path(__file__).with_name("stubtest_allow.txt")
    check(tmp_path, "mypy.stubtest", "sidecar._core", "--allowlist", str(allowed), "--ignore-unused-allowlist")


USER = """
import sidecar

async def use(client: sidecar.Sidecar) -> None:
    sent = client.send(b"", id="x", dst_sidecar_ranks=[[1]])
    await sent.captured
    reveal_type(sent.exception())
    async for each in client.stream("x"):
        print(each)
    client.send(b"", id=5, dst_sidecar_ranks=[[1]])
"""


def test_a_users_program_is_checked_against_it(tmp_path: Path) -> None:
    """py.typed is found: a wrong argument is an error, and only that."""
    (tmp_path / "user.py").write_text(USER)
    with pytest.raises(AssertionError) as raised:
        check(tmp_path, "mypy", "--config-file=", "--strict", "user.py")
    said = str(raised.value)
    assert 'Argument "id" to "send" of "Sidecar" has incompatible type "int"' in said
    assert "BaseException | None" in said
    assert "Found 1 error" in said
