"""OpenAI's API in this process, as much of it as a chat needs; errors in the real one's words."""

from __future__ import annotations

import time

from resilience.simulation.service import Answer, Request, Service

_FINE = 200


class FakeOpenAI(Service):
    """Chat completions. ``reply`` and ``finish_reason`` are what the model says next."""

    reply = "Blue, because short waves scatter most."
    finish_reason = "stop"

    @property
    def base_url(self) -> str:
        """What belongs into OPENAI_BASE_URL."""
        return f"{self.origin}/v1"

    @property
    def prompts(self) -> list[str]:
        """What the model was told, one text for each call."""
        return [
            "\n".join(message["content"] for message in request.json["messages"])
            for request in self.asked("/v1/chat/completions")
        ]

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        if self.status != _FINE:
            return _error(self.status, "The server had an error.", "server_error")
        if (request.method, request.path) == ("GET", "/v1/models"):
            return Answer(200, {"object": "list", "data": []})
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return _error(404, f"Invalid URL ({request.method} {request.path})", "none")
        message = {"role": "assistant", "content": self.reply, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return Answer(
            200,
            {
                "id": f"chatcmpl-{len(self.requests)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": request.json["model"],
                "choices": [{**choice, "logprobs": None}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
            },
        )


def _error(status: int, message: str, code: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return Answer(status, {"error": error})
