"""The official OpenAI SDK's Responses against a running gateway. Usage: python_responses.py BASE_URL MODELS_JSON

MODELS_JSON is that of python_messages.py.
Every raw event and object is held to responses.schema.json. Prints a line per check; the first failure ends it with a traceback.
"""

import asyncio
import json
import pathlib
import sys

import jsonschema
import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from checks import PIXEL_URL, Providers, check, raises, run_checks

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
client = OpenAI(base_url=BASE_URL, api_key=MODELS["key"], max_retries=2)
once = client.with_options(max_retries=0)
providers = Providers(MODELS["control"])
SCHEMA = json.loads(pathlib.Path(__file__).with_name("responses.schema.json").read_text())
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def holds(definition, value):
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": SCHEMA["$defs"]}).validate(value)


def calls_of(response, kind="function_call"):
    return [item for item in response.output if item.type == kind]


@check
def text():
    for model in MODELS["each"]:
        raw = client.responses.with_raw_response.create(model=model, input="hello", instructions="Be brief.")
        holds("response", json.loads(raw.text))
        response = raw.parse()
        assert response.output_text and response.status == "completed", response
        assert response.usage.total_tokens > 0 and response.model.startswith(model.split("/")[0]), response
        assert raw.headers["x-tollfree-model"] == response.model, raw.headers


@check
def streaming():
    for model in MODELS["each"]:
        with client.responses.stream(model=model, input="hello") as stream:
            deltas, last = "", None
            for event in stream:
                last = event
                if event.type == "response.output_text.delta":
                    deltas += event.delta
                    assert event.snapshot == deltas, event
            final = stream.get_final_response()
        assert last.type == "response.completed" and final.output_text == deltas != "", (model, final)
        assert final.usage.output_tokens > 0, (model, final)


@check
def raw_events_fit_the_schema():
    for model in MODELS["each"]:
        call = dict(model=model, input="Weather in Paris?", tools=[WEATHER], stream=True, max_output_tokens=300)
        with client.responses.with_streaming_response.create(**call) as raw:
            events = [json.loads(line[6:]) for line in raw.iter_lines() if line.startswith("data: ")]
        assert [event["sequence_number"] for event in events] == list(range(len(events))), events
        for event in events:
            holds("event", event)
        assert events[0]["type"] == "response.created" and events[-1]["type"] == "response.completed", events[-1]


@check
def tools_over_several_turns():
    for model in MODELS["each"]:
        history = [{"role": "user", "content": "What is the weather in Paris?"}]
        for turn in range(2):
            ask = dict(model=model, input=history, tools=[WEATHER], max_output_tokens=300)
            response = client.responses.create(**ask)
            calls = calls_of(response)
            assert calls and "city" in json.loads(calls[0].arguments), (model, turn, response)
            history += response.output
            for call in calls:
                output = f"{20 + turn} degrees"
                history.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
            with client.responses.stream(**{**ask, "input": history}) as stream:
                response = stream.until_done().get_final_response()
            assert "degrees" in response.output_text, (model, response)
            history += [*response.output, {"role": "user", "content": "And tomorrow?"}]


@check
def parallel_tools():
    for model in MODELS["each"]:
        ask = dict(model=model, input="Weather? [[calls=3]]", tools=[WEATHER], max_output_tokens=300)
        with client.responses.stream(**ask) as stream:
            response = stream.until_done().get_final_response()
        calls = calls_of(response)
        assert len({call.call_id for call in calls}) == len(calls) == 3, (model, response)
        outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"} for call in calls]
        again = {**ask, "input": ["placeholder"]}
        again["input"] = [{"role": "user", "content": "Weather?"}, *response.output, *reversed(outputs)]
        assert "degrees" in client.responses.create(**again).output_text, model


@check
def custom_tools_and_namespaces():
    custom = {"type": "custom", "name": "apply_patch", "description": "Applies a patch"}
    space = {"type": "namespace", "name": "files", "description": "Files", "tools": [WEATHER]}
    for model in MODELS["each"]:
        with client.responses.stream(model=model, input="Patch it", tools=[custom], max_output_tokens=300) as stream:
            kinds = {event.type for event in stream}
            call = calls_of(stream.get_final_response(), "custom_tool_call")[0]
        assert call.name == "apply_patch" and call.input and not call.input.startswith("{"), (model, call)
        assert "response.custom_tool_call_input.done" in kinds, (model, kinds)
        output = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "Done!"}
        ask = [{"role": "user", "content": "Patch it"}, call, output]
        answer = client.responses.create(model=model, input=ask, tools=[custom], max_output_tokens=300)
        assert "Done!" in answer.output_text, (model, answer)
        spaced = client.responses.create(model=model, input="Weather?", tools=[space], max_output_tokens=300)
        call = calls_of(spaced)[0]
        assert (call.name, call.namespace) == ("get_weather", "files"), (model, call)


class City(BaseModel):
    name: str
    inhabitants: int
    rivers: list[str]


@check
def structured_output():
    for model in MODELS["each"]:
        city = client.responses.parse(model=model, input="Paris", text_format=City).output_parsed
        assert isinstance(city, City), (model, city)
        with client.responses.stream(model=model, input="Paris", text_format=City) as stream:
            city = stream.until_done().get_final_response().output_parsed
        assert isinstance(city, City), (model, city)


@check
def images():
    content = [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": PIXEL_URL}]
    for model in MODELS["vision"]:
        ask = dict(model=model, input=[{"role": "user", "content": content}])
        with client.responses.stream(**ask) as stream:
            final = stream.until_done().get_final_response()
        for response in [client.responses.create(**ask), final]:
            assert "1 image" in response.output_text, (model, response)


@check
def reasoning():
    for model in MODELS["thinks"]:
        plain = client.responses.create(model=model, input="hello", reasoning={"effort": "high"})
        assert plain.output[0].type == "reasoning" and plain.output[0].content[0].text, (model, plain)
        counts_them = model.startswith("groq/")
        assert (plain.usage.output_tokens_details.reasoning_tokens > 0) == counts_them, (model, plain)
        summary = {"effort": "high", "summary": "auto"}
        ask = dict(model=model, input="hello", reasoning=summary, include=["reasoning.encrypted_content"])
        with client.responses.stream(**ask) as stream:
            kinds = [event.type for event in stream]
            item = stream.get_final_response().output[0]
        assert "response.reasoning_summary_text.delta" in kinds and item.summary[0].text, (model, kinds, item)
        assert item.encrypted_content and item.summary[0].text not in item.encrypted_content, (model, item)
        again = client.responses.create(model=model, input=[item, {"role": "user", "content": "hello"}])
        assert again.output_text, (model, again)
    ask = dict(model=MODELS["thinks_silently"], input="hello")
    for effort in ["high", "none"]:
        silent = client.responses.create(reasoning={"effort": effort, "summary": "auto"}, **ask)
        assert [item.type for item in silent.output] == ["message"], (effort, silent)


@check
def compaction():
    for model in MODELS["each"]:
        raw = client.responses.with_raw_response.compact(model=model, input=[{"role": "user", "content": "My name is Alice."}])
        holds("compacted", json.loads(raw.text))
        compacted = raw.parse()
        assert "Alice" not in compacted.output[0].encrypted_content, compacted
        answer = client.responses.create(model=model, input=[*compacted.output, {"role": "user", "content": "go on"}])
        assert answer.output_text, answer
    history = [{"role": "user", "content": "hello"}, {"type": "compaction_trigger"}]
    with client.responses.stream(model=MODELS["each"][0], input=history) as stream:
        output = stream.until_done().get_final_response().output
    assert [item.type for item in output] == ["compaction"], output


@check
def input_tokens():
    few = client.responses.input_tokens.count(model=MODELS["each"][0], input="hello")
    many = client.responses.input_tokens.count(model=MODELS["each"][0], input="hello " * 100, tools=[WEATHER])
    assert 0 < few.input_tokens < many.input_tokens, (few, many)


@check
def stored_responses():
    model = MODELS["each"][0]
    first = client.responses.create(model=model, input="hello")
    assert first.store, first
    second = client.responses.create(model=model, input="again", previous_response_id=first.id)
    assert second.previous_response_id == first.id and second.output_text, second
    assert client.responses.retrieve(first.id).output_text == first.output_text
    items = list(client.responses.input_items.list(second.id))
    assert [item.content[0].text for item in items] == ["again"], items
    reference = {"type": "item_reference", "id": first.output[-1].id}
    assert client.responses.create(model=model, input=[reference, {"role": "user", "content": "and?"}]).output_text
    client.responses.delete(first.id)
    raises(openai.NotFoundError, 404, "not_found", lambda: client.responses.retrieve(first.id))


@check
def error_classes():
    unknown = OpenAI(base_url=BASE_URL, api_key="sk-tf-0000-unknown", max_retries=0)
    limited = OpenAI(base_url=BASE_URL, api_key=MODELS["limited"], max_retries=0)
    create, model = once.responses.create, MODELS["each"][0]
    raises(openai.AuthenticationError, 401, "invalid_api_key", lambda: unknown.responses.create(model=model, input="x"))
    call = lambda: limited.responses.create(model=model, input="x")
    raises(openai.PermissionDeniedError, 403, "model_not_allowed", call)
    raises(openai.NotFoundError, 404, "model_not_found", lambda: create(model="no-such-model", input="x"))
    bad = openai.BadRequestError
    wrong = raises(bad, 400, "invalid_value", lambda: create(model=model, input=[{"role": "robot", "content": "x"}]))
    assert wrong.param == "input[0].role", wrong.param
    raises(bad, 400, "invalid_value", lambda: create(model=model, input="x", background=True))
    call = lambda: create(model=model, input="x", previous_response_id="resp_unknown")
    assert raises(bad, 400, "previous_response_not_found", call).param == "previous_response_id"
    raises(bad, 400, "context_length_exceeded", lambda: create(model="free", input="word " * 800_000))
    raises(openai.APIStatusError, 413, "request_too_large", lambda: create(model="free", input="word " * 1_100_000))
    broken = openai.InternalServerError
    raises(broken, 504, "upstream_timeout", lambda: create(model=MODELS["silent"], input="x"))
    for _ in range(3):
        raises(broken, 502, "upstream_error", lambda: create(model=MODELS["down"], input="x"))
    down = raises(broken, 503, "no_provider_available", lambda: create(model=MODELS["down"], input="x"))
    assert int(down.response.headers["retry-after"]) > 0, down


@check
def a_limit_says_when():
    for _ in range(200):
        try:
            once.responses.create(model=MODELS["metered"], input="x", max_output_tokens=20)
        except openai.RateLimitError as limit:
            assert limit.code == "budget_exhausted" and limit.type == "rate_limit_error", limit
            assert int(limit.response.headers["retry-after"]) > 0 and "UTC" in limit.body["message"], limit
            return
    raise AssertionError("no limit was met")


@check
def a_cut_answer_is_never_complete():
    for model in MODELS["each"]:
        ask, kinds = dict(model=model, input="hello [[tokens=100 size=4 chunk=5]]"), []
        try:
            with providers.failing(model, "cut_after_chunks", after=6), once.responses.stream(**ask) as stream:
                kinds = [event.type for event in stream]
                stream.get_final_response()
        except RuntimeError as error:
            assert "completed" in str(error), (model, error)
        else:
            raise AssertionError(f"{model}: the stream counts as complete")
        assert kinds[-1] == "response.failed" and "response.completed" not in kinds, (model, kinds)
        assert "response.output_text.delta" in kinds, (model, kinds)
        with providers.failing(model, "cut_after_chunks"):
            raises(openai.InternalServerError, 502, "upstream_error", lambda: once.responses.create(**ask))
        assert client.responses.create(**ask).status == "completed", model


@check
def a_caller_that_loses_patience_is_seen_to_leave():
    for model in MODELS["each"]:

        def leave():
            try:
                once.with_options(timeout=0.5).responses.create(model=model, input="hello [[ttft=5000]]")
            except openai.APITimeoutError:
                return
            raise AssertionError("no time-out")

        providers.see_leave(model, leave, MODELS["departure_ms"])
        assert client.responses.create(model=model, input="hello").output_text, model


@check
def an_abort_in_the_middle_of_a_stream_is_seen():
    for model in MODELS["each"]:
        ask = dict(model=model, input="go on [[tokens=800 chunk=50]]")

        def leave():
            with client.responses.stream(**ask) as stream:
                next(event for event in stream if event.type == "response.output_text.delta")

        async def leave_too():
            async with AsyncOpenAI(base_url=BASE_URL, api_key=MODELS["key"], max_retries=2) as session:
                stream = await session.responses.create(stream=True, **ask)
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        break
                await stream.close()

        for abort in [leave, lambda: asyncio.run(leave_too())]:
            providers.see_leave(model, abort, MODELS["departure_ms"])
        assert client.responses.create(model=model, input="hello").output_text, model


run_checks()
