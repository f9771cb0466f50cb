"""A release of the chart in one namespace of a cluster, as Helm makes and changes it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import yaml

from deploy import chart

NAME = "firsthop"


class Release:
    """Helm's view of the chart in one namespace.

    Args:
        kubeconfig: By which Helm finds the API server.
        namespace: Exists already.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace

    async def objects(self, *values: str) -> list[chart.Object]:
        """Return the objects that `upgrade` with `values` would make."""
        text = await self._helm("template", NAME, str(chart.CHART), *values)
        return [found for found in yaml.safe_load_all(text) if found]

    async def upgrade(self, *values: str) -> None:
        """Install the release, or change it to `values`, options of Helm, and no earlier ones."""
        await self._helm("upgrade", "--install", NAME, str(chart.CHART), *values)

    async def rollback(self) -> None:
        """Make the release what it was before the last upgrade."""
        await self._helm("rollback", NAME)

    async def uninstall(self) -> None:
        """Take the release away."""
        await self._helm("uninstall", NAME)

    async def _helm(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            chart.HELM,
            *arguments,
            "--namespace",
            self._namespace,
            env=os.environ | {"KUBECONFIG": str(self._kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, f"helm {arguments[0]}: {errors.decode()}"
        return output.decode()
