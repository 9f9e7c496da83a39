"""What users write with each client library, against a gateway. Runs in an environment of its own,
which has the libraries and nothing of this project: `python libraries.py LIBRARY URL KEY`.

Prints one JSON object: use → "" where it works, else what went wrong.
"""

import asyncio
import atexit
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

QUESTION = "What is the capital of France?"
ASKED: Any = [{"role": "user", "content": QUESTION}]
CASCADE = "trivia"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
Uses = dict[str, Callable[[], Any]]


class City(BaseModel):
    """The city that is asked for."""

    city: str


def said(text: Any) -> None:
    """A text came."""
    assert isinstance(text, str) and text.strip(), f"no text: {text!r}"


def plain_uses(complete: Callable[..., Any]) -> Uses:
    """Those of a client whose answers are OpenAI's own; `complete` asks with further parameters."""

    def text(**more: Any) -> None:
        said(complete(**more).choices[0].message.content)

    def streams(**more: Any) -> None:
        chunks = [chunk for chunk in complete(stream=True, **more) if chunk.choices]
        said("".join(chunk.choices[0].delta.content or "" for chunk in chunks))

    return {
        "plain": text,
        "temperature 0": lambda: text(temperature=0),
        "temperature 0.7": lambda: text(temperature=0.7),
        "stream": lambda: (streams(), streams(temperature=0.7)),
    }


def openai_client(url: str, key: str) -> Uses:
    import openai

    client = openai.OpenAI(base_url=url, api_key=key)

    def create(**more: Any) -> Any:
        return client.chat.completions.create(model=CASCADE, messages=ASKED, **more)

    async def asynchronous() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key=key) as own:
            answer = await own.chat.completions.create(model=CASCADE, messages=ASKED)
            said(answer.choices[0].message.content)
            stream = await own.chat.completions.create(model=CASCADE, messages=ASKED, stream=True, temperature=0.5)
            said("".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]))

    def tools() -> None:
        first = create(tools=[TOOL]).choices[0].message
        [call] = first.tool_calls
        assert "city" in json.loads(call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        again = client.chat.completions.create(model=CASCADE, messages=[*ASKED, first, result], tools=[TOOL])
        said(again.choices[0].message.content)

    def parse() -> None:
        answer = client.chat.completions.parse(model=CASCADE, messages=ASKED, response_format=City)
        assert isinstance(answer.choices[0].message.parsed, City)

    def responses() -> None:
        said(client.responses.create(model=CASCADE, input=QUESTION).output_text)

    return plain_uses(create) | {
        "async": lambda: asyncio.run(asynchronous()),
        "tools": tools,
        "structured output": parse,
        "responses": responses,
    }


def langchain(url: str, key: str) -> Uses:
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return "sunny"

    def model(**more: Any) -> Any:
        return ChatOpenAI(model=CASCADE, base_url=url, api_key=key, **more)

    async def asynchronous() -> None:
        said((await model().ainvoke(QUESTION)).content)

    def tools() -> None:
        calls = model().bind_tools([weather]).invoke(QUESTION).tool_calls
        assert calls[0]["name"] == "weather" and "city" in calls[0]["args"]

    def structured() -> None:
        assert isinstance(model().with_structured_output(City).invoke(QUESTION), City)

    return {
        "plain": lambda: said(model().invoke(QUESTION).content),
        "temperature 0": lambda: said(model(temperature=0).invoke(QUESTION).content),
        "temperature 0.7": lambda: said(model(temperature=0.7).invoke(QUESTION).content),
        "async": lambda: asyncio.run(asynchronous()),
        "stream": lambda: said("".join(part.content for part in model().stream(QUESTION))),
        "tools": tools,
        "structured output": structured,
    }


def litellm(url: str, key: str) -> Uses:
    import litellm as library

    asked = {"model": f"openai/{CASCADE}", "api_base": url, "api_key": key, "messages": ASKED}

    def complete(**more: Any) -> Any:
        return library.completion(**asked, **more)

    async def asynchronous() -> None:
        said((await library.acompletion(**asked)).choices[0].message.content)

    def tools() -> None:
        [call] = complete(tools=[TOOL]).choices[0].message.tool_calls
        assert "city" in json.loads(call.function.arguments)

    def structured() -> None:
        schema = TOOL["function"]["parameters"] | {"additionalProperties": False}
        wanted = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}
        assert "city" in json.loads(complete(response_format=wanted).choices[0].message.content)

    def named() -> None:
        headers = {"Knowgate-Slice": "cities", "Knowgate-External-Id": "from-litellm"}
        said(complete(extra_headers=headers).choices[0].message.content)

    return plain_uses(complete) | {
        "async": lambda: asyncio.run(asynchronous()),
        "tools": tools,
        "structured output": structured,
        "slice and external id": named,
    }


def llama_index(url: str, key: str) -> Uses:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def weather(city: str) -> str:
        """The weather of a city."""
        return "sunny"

    asked = [ChatMessage(role="user", content=QUESTION)]

    def model(**more: Any) -> Any:
        named = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 2048}
        return OpenAILike(model=CASCADE, api_base=url, api_key=key, **named, **more)

    async def asynchronous() -> None:
        said((await model().achat(asked)).message.content)

    def tools() -> None:
        library = model()
        answer = library.chat_with_tools([FunctionTool.from_defaults(weather)], chat_history=asked)
        [call] = library.get_tool_calls_from_response(answer)
        assert call.tool_name == "weather" and "city" in call.tool_kwargs

    def structured() -> None:
        assert isinstance(model().as_structured_llm(City).chat(asked).raw, City)

    return {
        "plain": lambda: said(model().chat(asked).message.content),
        "temperature 0": lambda: said(model(temperature=0.0).chat(asked).message.content),
        "temperature 0.7": lambda: said(model(temperature=0.7).chat(asked).message.content),
        "async": lambda: asyncio.run(asynchronous()),
        "stream": lambda: said("".join(part.delta or "" for part in model().stream_chat(asked))),
        "tools": tools,
        "structured output": structured,
    }


def instructor(url: str, key: str) -> Uses:
    import instructor as library
    import openai

    def extract(mode: Any, **more: Any) -> None:
        client = library.from_openai(openai.OpenAI(base_url=url, api_key=key), mode=mode)
        answer = client.chat.completions.create(model=CASCADE, messages=ASKED, response_model=City, **more)
        assert isinstance(answer, City)

    async def asynchronous() -> None:
        client = library.from_openai(openai.AsyncOpenAI(base_url=url, api_key=key))
        answer = await client.chat.completions.create(model=CASCADE, messages=ASKED, response_model=City)
        assert isinstance(answer, City)

    return {
        "temperature 0": lambda: extract(library.Mode.TOOLS, temperature=0),
        "async": lambda: asyncio.run(asynchronous()),
        "tools": lambda: extract(library.Mode.TOOLS),
        "structured output": lambda: extract(library.Mode.JSON_SCHEMA),
    }


def pydantic_ai(url: str, key: str) -> Uses:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(CASCADE, provider=OpenAIProvider(base_url=url, api_key=key))

    def run(**more: Any) -> Any:
        return Agent(model, **more).run_sync(QUESTION).output

    async def streams() -> None:
        async with Agent(model).run_stream(QUESTION) as answer:
            said("".join([part async for part in answer.stream_text(delta=True)]))

    async def asynchronous() -> None:
        said((await Agent(model).run(QUESTION)).output)

    def tools() -> None:
        asked = []
        agent = Agent(model)

        @agent.tool_plain
        def weather(city: str) -> str:
            """The weather of a city."""
            asked.append(city)
            return "sunny"

        said(agent.run_sync(QUESTION).output)
        assert asked

    def structured() -> None:
        assert isinstance(run(output_type=City), City)

    return {
        "plain": lambda: said(run()),
        "temperature 0": lambda: said(run(model_settings={"temperature": 0.0})),
        "temperature 0.7": lambda: said(run(model_settings={"temperature": 0.7})),
        "async": lambda: asyncio.run(asynchronous()),
        "stream": lambda: asyncio.run(streams()),
        "tools": tools,
        "structured output": structured,
    }


def litellm_proxy(url: str, key: str) -> Uses:
    """The official client, through a proxy of LiteLLM's that knows the gateway as a model."""
    port, folder = _free_port(), Path(tempfile.mkdtemp())
    model = {"model": f"openai/{CASCADE}", "api_base": url, "api_key": key}
    config = folder / "config.json"  # JSON is YAML
    models = [{"model_name": CASCADE, "litellm_params": model}]
    master = f"sk-{secrets.token_hex(16)}"
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": master}}))
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(config), "--port", str(port)]
    log = (folder / "log").open("wb")
    proxy = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=log, stderr=log)
    atexit.register(proxy.kill)
    for _ in range(600):
        assert proxy.poll() is None, (folder / "log").read_text()[-1000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2):
                break
        except OSError:
            time.sleep(0.2)
    uses = openai_client(f"http://127.0.0.1:{port}/v1", master)
    del uses["responses"]  # the proxy makes them of chat completions itself
    return uses


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


LIBRARIES: dict[str, Callable[[str, str], Uses]] = {
    "openai": openai_client,
    "langchain-openai": langchain,
    "litellm": litellm,
    "litellm (proxy)": litellm_proxy,
    "llama-index-llms-openai-like": llama_index,
    "instructor": instructor,
    "pydantic-ai-slim": pydantic_ai,
}


def main(name: str, url: str, key: str) -> None:
    """Try every use of a library."""
    results = {}
    for use, run in LIBRARIES[name](url, key).items():
        try:
            run()
            results[use] = ""
        except Exception as error:  # noqa: BLE001  whatever it is, the table says it
            results[use] = f"{type(error).__name__}: {error}"[:300]
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
