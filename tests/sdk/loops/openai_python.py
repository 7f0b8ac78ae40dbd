"""The official SDK for Python. Usage: openai_python.py BASE_URL MODELS_JSON create|stream|parse"""

import json
import sys

from loop import BASE_URL, QUESTIONS, WEATHER, check_answer, report, run, weather
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

client = OpenAI(base_url=BASE_URL, api_key="anything", max_retries=0)
FORM = sys.argv[3]


class GetWeather(BaseModel):
    """The weather of a city."""

    city: str


def created(model, messages, stream):
    """`create`, and the message that a program puts together from the chunks by hand."""
    if not stream:
        answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
        return answer.choices[0].message.model_dump(), answer.usage
    message, usages = {"role": "assistant", "content": "", "tool_calls": []}, []
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], stream=True, stream_options=options
    ):
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            message["content"] += choice.delta.content or ""
            for piece in choice.delta.tool_calls or []:
                if piece.index == len(message["tool_calls"]):
                    call = {"id": piece.id, "type": piece.type, "function": {"name": piece.function.name, "arguments": ""}}
                    message["tool_calls"].append(call)
                message["tool_calls"][piece.index]["function"]["arguments"] += piece.function.arguments or ""
    assert len(usages) == 1, f"usage came {len(usages)} times"
    return message, usages[0]


def streamed(model, messages, _):
    """The helper that accumulates."""
    options = {"include_usage": True}
    with client.chat.completions.stream(model=model, messages=messages, tools=[WEATHER], stream_options=options) as stream:
        answer = stream.get_final_completion()
    return answer.choices[0].message.model_dump(), answer.usage


def parsed(model, messages, _):
    """Arguments as objects, by strict tools."""
    tools = [pydantic_function_tool(GetWeather, name="get_weather")]
    answer = client.chat.completions.parse(model=model, messages=messages, tools=tools)
    message = answer.choices[0].message
    for call in message.tool_calls or []:
        assert isinstance(call.function.parsed_arguments, GetWeather), call
    return message.model_dump(), answer.usage


def loop(model, stream):
    ask = {"create": created, "stream": streamed, "parse": parsed}[FORM]
    messages, usages = [{"role": "system", "content": "Use the tool."}], []
    for turn, question in enumerate(QUESTIONS):
        messages.append({"role": "user", "content": question})
        message, usage = ask(model, messages, stream)
        usages.append((usage.prompt_tokens, usage.completion_tokens))
        assert message["tool_calls"], f"no call: {message}"
        messages.append(message)
        for call in message["tool_calls"]:
            assert "city" in json.loads(call["function"]["arguments"]), call
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": weather(turn)})
        message, usage = ask(model, messages, stream)
        usages.append((usage.prompt_tokens, usage.completion_tokens))
        check_answer(message["content"], turn)
        messages.append(message)
    report(model, stream, usages)


run(loop, {"create": (False, True), "stream": (True,), "parse": (False,)}[FORM])
