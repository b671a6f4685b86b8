"""The two services that the example project talks to: ``resilience.simulation`` has them."""

from resilience.simulation.fake_langsmith import FakeLangSmith as LangSmith
from resilience.simulation.fake_openai import FakeOpenAI as OpenAI

__all__ = ["LangSmith", "OpenAI"]
