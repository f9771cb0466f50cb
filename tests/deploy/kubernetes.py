"""A client of an API server, which tests ask what became of the chart's objects."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx

from deploy.chart import Object
from e2e.waiting import until

_SECONDS = 60.0
_POLL_SECONDS = 0.1


class RefusedError(Exception):
    """The API server refused an object: why, in its words."""


class Kubernetes:
    """Asks one API server, in one namespace.

    Args:
        client: Asks with an administrator's rights.
        namespace: Where objects that need a namespace are.
    """

    def __init__(self, client: httpx.AsyncClient, namespace: str) -> None:
        self.namespace = namespace
        self._client = client
        self._resources: dict[str, list[Object]] = {}

    async def create_namespace(self, labels: dict[str, str]) -> None:
        """Create the namespace, with `labels`."""
        metadata = {"name": self.namespace, "labels": labels}
        response = await self._client.post("/api/v1/namespaces", json={"metadata": metadata})
        response.raise_for_status()

    async def all(self, api_version: str, kind: str, **selectors: str) -> list[Object]:
        """Return the objects of a kind; ``labelSelector=...`` and ``fieldSelector=...`` narrow."""
        path = await self._path(api_version, kind)
        response = await self._client.get(path, params=selectors)
        response.raise_for_status()
        return list(response.json()["items"])

    async def get(self, api_version: str, kind: str, name: str) -> Object:
        """Return one object."""
        response = await self._client.get(f"{await self._path(api_version, kind)}/{name}")
        response.raise_for_status()
        return dict(response.json())

    async def try_apply(self, object: Object) -> list[str]:
        """Have the server check an object as if it were applied, strictly; return its warnings.

        Raises:
            RefusedError: It would not take the object: a field that it does not know or allow, a
                policy of the namespace, a validation.
        """
        path = await self._path(object["apiVersion"], object["kind"])
        response = await self._client.patch(
            f"{path}/{object['metadata']['name']}",
            params={
                "dryRun": "All",
                "fieldManager": "test",
                "fieldValidation": "Strict",
                "force": "true",
            },
            content=json.dumps(object),
            headers={"content-type": "application/apply-patch+yaml"},
        )
        if response.is_error:
            raise RefusedError(response.json()["message"])
        return response.headers.get_list("warning")

    async def scale(self, deployment: str, replicas: int) -> None:
        """Set how many pods a Deployment has, as an autoscaler does."""
        path = f"{await self._path('apps/v1', 'Deployment')}/{deployment}/scale"
        content_type = {"content-type": "application/merge-patch+json"}
        patch = json.dumps({"spec": {"replicas": replicas}})
        response = await self._client.patch(path, content=patch, headers=content_type)
        response.raise_for_status()

    async def until(
        self, api_version: str, kind: str, what: str, condition: Callable[[list[Object]], bool]
    ) -> list[Object]:
        """Return the objects of a kind once `condition`, `what` in words, holds for them."""

        async def holds() -> tuple[list[Object]] | None:
            objects = await self.all(api_version, kind)
            # None of them may be what is waited for.
            return (objects,) if condition(objects) else None

        (objects,) = await until(holds, what, _SECONDS, every=_POLL_SECONDS)
        return objects

    async def _path(self, api_version: str, kind: str) -> str:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if root not in self._resources:
            response = await self._client.get(root)
            response.raise_for_status()
            self._resources[root] = response.json()["resources"]
        for resource in self._resources[root]:
            if resource["kind"] == kind and "/" not in resource["name"]:
                place = f"/namespaces/{self.namespace}" if resource["namespaced"] else ""
                return f"{root}{place}/{resource['name']}"
        raise LookupError(f"the server has no {kind} in {api_version}")
