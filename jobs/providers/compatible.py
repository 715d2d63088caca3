"""Servers that speak OpenAI's batch API more or less: fewer assumptions, the same verbs."""

from __future__ import annotations

from typing import Any

from jobs.errors import ProviderError
from jobs.providers import remote
from jobs.providers.base import RemoteBatch
from jobs.providers.openai import OpenAIProvider


class CompatibleProvider(OpenAIProvider):
    """Status words in any case, a batch inside `job`, an answerless cancel, no model list: all seen, none an error."""

    own_url = ""
    ends = remote.COMPATIBLE_ENDS
    result_days = None  # nobody says how long they keep results

    def _batch(self, raw: Any) -> RemoteBatch:
        if isinstance(raw, dict) and isinstance(raw.get("job"), dict):  # Together's create
            raw = raw["job"]
        return super()._batch(raw)

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for an end; where the answer is not the batch, it is asked for."""
        answer = self.parsed(self.send("post", self.cancel_path(batch_id)))
        try:
            return self._batch(answer)
        except ProviderError:
            return self.get(batch_id)

    def test(self) -> str:
        """One cheap call, two where the server lists no models."""
        try:
            return super().test()
        except ProviderError as exc:
            if exc.status not in (404, 405, 501):
                raise
        self.list()
        return "It works: the server answers and lists batches, but no models."
