"""The official Anthropic SDK for Python against a running gateway. Usage: python_messages.py BASE_URL MODELS_JSON

MODELS_JSON names what to ask: {"any", "each": one model per dialect, "thinks": […], "thinks_silently",
"vision": […], "metered", "down", "silent"}, the keys {"key", "limited": to `down` only}, the simulator's "control" and "departure_ms", the bound of an abort.
Prints a line per check; the first failure ends it with a traceback.
"""

import asyncio
import json
import sys

import anthropic
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from checks import PIXEL, Providers, answered, check, run_checks, user

BASE_URL, MODELS = sys.argv[1].removesuffix("/v1"), json.loads(sys.argv[2])
client = Anthropic(base_url=BASE_URL, api_key=MODELS["key"], max_retries=0)
providers = Providers(MODELS["control"])
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def create(**more):
    return answered(lambda: client.messages.create(**{"max_tokens": 500, **more}), anthropic.RateLimitError)


def streamed(**more):
    """The final message, and the events that led to it."""

    def call():
        with client.messages.stream(**{"max_tokens": 500, **more}) as stream:
            events = [event.type for event in stream]
            return stream.get_final_message(), events

    return answered(call, anthropic.RateLimitError)


@check
def message():
    raw = answered(
        lambda: client.messages.with_raw_response.create(model=MODELS["any"], max_tokens=300, messages=user("hello")),
        anthropic.RateLimitError,
    )
    answer = raw.parse()
    assert answer.content[0].type == "text" and answer.content[0].text, answer
    assert answer.stop_reason == "end_turn" and answer.model == raw.headers["x-tollfree-model"], answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer
    assert raw.headers["request-id"] and answer._request_id == raw.headers["request-id"], raw.headers


@check
def text_of_every_dialect():
    for model in MODELS["each"]:
        whole = create(model=model, system=[{"type": "text", "text": "Be brief."}], messages=user("hello [[tokens=12]]"))
        final, events = streamed(model=model, system="Be brief.", messages=user("hello [[tokens=12]]"))
        assert events[0] == "message_start" and events[-1] == "message_stop", events
        assert final.content[0].text and final.stop_reason == whole.stop_reason == "end_turn", (whole, final)
        assert final.usage == whole.usage and final.usage.input_tokens > 0, (whole.usage, final.usage)
        cut = create(model=model, max_tokens=5, messages=user("hello [[tokens=50]]"))
        assert cut.stop_reason == "max_tokens", cut


@check
def tools_over_several_turns_and_in_parallel():
    for at, model in enumerate(MODELS["each"]):
        answer = [create, lambda **more: streamed(**more)[0]][at % 2]
        messages = user("weather in Bonn and Köln? [[calls=2]]")
        first = answer(model=model, messages=messages, tools=[WEATHER])
        calls = [block for block in first.content if block.type == "tool_use"]
        assert first.stop_reason == "tool_use" and len(calls) == 2, (model, first)
        assert len({call.id for call in calls}) == 2 and all(call.input["city"] for call in calls), calls
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": f"12 degrees, {call.id}"} for call in calls
        ]
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        second = answer(model=model, messages=messages, tools=[WEATHER])
        assert second.stop_reason == "end_turn" and second.content[-1].text, (model, second)
        reminder = [{"type": "text", "text": "and in Ulm? [[calls=1]]"}]
        messages += [{"role": "assistant", "content": second.content}, {"role": "user", "content": reminder}]
        third = answer(model=model, messages=messages, tools=[WEATHER])
        call = next(block for block in third.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "no such city", "is_error": True}
        words = {"type": "text", "text": "Never mind. [[calls=0]]"}
        messages += [{"role": "assistant", "content": third.content}, {"role": "user", "content": [result, words]}]
        last = answer(model=model, messages=messages, tools=[WEATHER])
        assert last.content[-1].text, (model, last)


@check
def a_dialogue_is_handed_from_dialect_to_dialect():
    messages = user("weather in Bonn? [[calls=1]]")
    for model in MODELS["each"] + MODELS["each"][:2]:
        answer = streamed(model=model, messages=messages, tools=[WEATHER])[0]
        messages.append({"role": "assistant", "content": answer.content})
        calls = [block for block in answer.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "12 degrees"} for call in calls]
        messages += user(results or "and in Köln? [[calls=1]]")


@check
def a_tool_that_must_be_called():
    answer = create(
        model=MODELS["any"], messages=user("hello"), tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}
    )
    assert answer.stop_reason == "tool_use", answer


@check
def thinking():
    for model in MODELS["thinks"]:
        ask = {"model": model, "max_tokens": 4000, "messages": user("why? [[reasoning=40 tokens=10]]")}
        whole = create(thinking={"type": "enabled", "budget_tokens": 1024}, **ask)
        final, events = streamed(thinking={"type": "enabled", "budget_tokens": 1024}, **ask)
        for answer in [whole, final]:
            assert [block.type for block in answer.content] == ["thinking", "text"], (model, answer)
            assert answer.content[0].thinking and answer.content[0].signature, (model, answer)
        assert "signature" in events, (model, events)
        plain = create(**ask)
        assert [block.type for block in plain.content] == ["text"], (model, plain)
        turn = [{"role": "assistant", "content": final.content}, {"role": "user", "content": "go on"}]
        assert create(**{**ask, "messages": ask["messages"] + turn}).content[0].text, model
    ask = {"model": MODELS["thinks_silently"], "max_tokens": 4000, "messages": user("why?")}
    for thinking in [{"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}]:
        silent = create(thinking=thinking, **ask)
        assert [block.type for block in silent.content] == ["text"], (thinking, silent)


@check
def images():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    for model in MODELS["vision"]:
        ask = {"model": model, "messages": user([{"type": "text", "text": "what?"}, image])}
        for answer in [create(**ask), streamed(**ask)[0]]:
            assert "1 image" in answer.content[0].text, (model, answer)
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Bonn"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "map"}, image]}
    messages = user("map of Bonn") + [{"role": "assistant", "content": [call]}] + user([result])
    for model in set(MODELS["vision"]) & set(MODELS["each"]):
        assert create(model=model, messages=messages, tools=[WEATHER]).content, model


class Place(BaseModel):
    city: str
    country: str


@check
def structured_output():
    schema = {**Place.model_json_schema(), "additionalProperties": False}
    output = {"format": {"type": "json_schema", "schema": schema}}
    for model in MODELS["each"]:
        ask = {"model": model, "messages": user("a place"), "output_config": output}
        for answer in [create(**ask), streamed(**ask)[0]]:
            Place.model_validate_json(answer.content[-1].text)


@check
def counting():
    ask = {"model": MODELS["each"][0], "messages": user("x " * 400), "tools": [WEATHER], "system": "Be brief."}
    for _ in range(10):
        truth = create(**ask).usage.input_tokens
    counted = client.messages.count_tokens(**ask).input_tokens
    assert abs(counted - truth) <= truth / 10, (counted, truth)


def raises(kind, status, words, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status and error.body["type"] == "error", error
        assert words in error.body["error"]["message"], error
        assert error.request_id and error.body["request_id"] == error.request_id, error
        return error
    raise AssertionError(f"no {kind.__name__}")


@check
def errors_by_class():
    ask = {"max_tokens": 10, "messages": user("x")}
    wrong = [{"role": "user", "content": [{"type": "hologram"}]}]
    create = client.messages.create
    unknown = Anthropic(base_url=BASE_URL, api_key="sk-tf-0000-unknown", max_retries=0)
    limited = Anthropic(base_url=BASE_URL, api_key=MODELS["limited"], max_retries=0)
    raises(anthropic.AuthenticationError, 401, "key", lambda: unknown.messages.create(model="free", **ask))
    raises(anthropic.PermissionDeniedError, 403, "groq", lambda: limited.messages.create(model=MODELS["each"][0], **ask))
    raises(anthropic.NotFoundError, 404, "nope", lambda: create(model="nope", **ask))
    raises(
        anthropic.BadRequestError, 400, "messages[0].content[0].type", lambda: create(model="free", max_tokens=9, messages=wrong)
    )
    long = user("word " * 800_000)
    too_long = raises(
        anthropic.BadRequestError, 400, "prompt is too long", lambda: create(model="free", max_tokens=9, messages=long)
    )
    assert too_long.body["error"]["message"].startswith("prompt is too long"), too_long
    larger = {"model": "free", "max_tokens": 9, "messages": user("word " * 1_100_000)}
    raises(anthropic.RequestTooLargeError, 413, "larger than", lambda: create(**larger))
    raises(anthropic.DeadlineExceededError, 504, "silent", lambda: create(model=MODELS["silent"], **ask))
    for _ in range(3):
        raises(anthropic.InternalServerError, 502, "down", lambda: create(model=MODELS["down"], **ask))
    overloaded = raises(anthropic.OverloadedError, 529, "down", lambda: create(model=MODELS["down"], **ask))
    assert overloaded.body["error"]["type"] == "overloaded_error", overloaded
    assert int(overloaded.response.headers["retry-after"]) > 0, overloaded


@check
def a_limit_says_when_and_sleeping_that_long_is_enough():
    model = MODELS["metered"]
    never = {"Prefer": "wait=0"}
    for _ in range(200):
        try:
            client.messages.create(model=model, max_tokens=20, messages=user("x"), extra_headers=never)
        except anthropic.RateLimitError as limit:
            assert limit.body["error"]["type"] == "rate_limit_error", limit
            seconds = int(limit.response.headers["retry-after"])
            assert seconds > 0 and "UTC" in limit.body["error"]["message"], limit
            return
    raise AssertionError("no limit was met")


@check
def an_answer_of_no_tokens():
    answer = create(model=MODELS["any"], max_tokens=0, messages=user("warm up"))
    assert answer.content == [] and answer.stop_reason == "max_tokens", answer


@check
def a_caller_that_loses_patience_is_seen_to_leave():
    for model in MODELS["each"]:
        ask = {"model": model, "max_tokens": 50}

        def leave():
            try:
                client.with_options(timeout=0.5).messages.create(messages=user("hello [[ttft=5000]]"), **ask)
            except anthropic.APITimeoutError:
                return
            raise AssertionError("no time-out")

        providers.see_leave(model, leave, MODELS["departure_ms"])
        assert create(messages=user("hello"), **ask).content, model


@check
def an_abort_in_the_middle_of_a_stream_is_seen():
    for model in MODELS["each"]:
        ask = {"model": model, "max_tokens": 900}

        def leave():
            with client.messages.stream(messages=user("hello [[tokens=800 chunk=50]]"), **ask) as stream:
                next(event for event in stream if event.type == "text")

        async def leave_too():
            async with AsyncAnthropic(base_url=BASE_URL, api_key=MODELS["key"], max_retries=0) as session:
                async with session.messages.stream(messages=user("hello [[tokens=800 chunk=50]]"), **ask) as stream:
                    async for event in stream:
                        if event.type == "content_block_delta":
                            break

        for abort in [leave, lambda: asyncio.run(leave_too())]:
            providers.see_leave(model, abort, MODELS["departure_ms"])
        assert create(messages=user("hello"), **ask).content, model


@check
def a_cut_answer_is_never_complete():
    for model in MODELS["each"]:
        ask = {"model": model, "max_tokens": 300, "messages": user("hello [[tokens=100 size=4 chunk=5]]")}
        for call in [
            lambda: client.messages.create(**ask),
            lambda: client.messages.stream(**ask).__enter__().get_final_message(),
        ]:
            try:
                with providers.failing(model, "cut_after_chunks", after=6):
                    answer = call()
            except anthropic.APIStatusError as error:
                assert error.body["error"]["type"] == "api_error", (model, error)
            else:
                raise AssertionError(f"{model}: the answer counts as complete: {answer}")
        assert streamed(**ask)[0].stop_reason == "end_turn", model


@check
def the_list_of_models():
    ids = [model.id for model in client.models.list(limit=1000)]
    assert "anthropic/free-smart" in ids and len(ids) == len(set(ids)), ids
    card = client.models.retrieve("anthropic/free-smart")
    assert card.type == "model" and card.display_name == "free-smart", card
    assert create(model="anthropic/free-smart", messages=user("hello")).content[0].text
    assert create(model="claude-sonnet-4-5", messages=user("hello")).content[0].text


run_checks()
