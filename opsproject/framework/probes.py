from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


def chat(model: "ChatOpenAI") -> None:
    """Raises what the service says to a question that costs nothing and needs a valid key."""
    model.root_client.with_options(timeout=2.0, max_retries=0).models.list()
