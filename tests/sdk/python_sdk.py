"""The official OpenAI SDK for Python against a running gateway. Usage: python_sdk.py BASE_URL MODELS_JSON

MODELS_JSON names what to ask: {"any", "tools": […], "schema", "vision", "several", "loose", "metered",
"embedding", "many", "takes", "fim", "whisper"}; `many` takes that many texts in one call.
Prints a line per check; the first failure ends it with a traceback.
"""

import asyncio
import io
import json
import sys
import time
import wave

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from checks import PIXEL_URL, answered, check, raises, run_checks, user

BASE_URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
client = OpenAI(base_url=BASE_URL, api_key="anything", max_retries=0)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@check
def chat():
    raw = answered(lambda: client.chat.completions.with_raw_response.create(model=MODELS["any"], messages=user("hello")))
    answer = raw.parse()
    assert answer.choices[0].message.content, answer
    assert answer.usage.total_tokens > 0, answer
    assert raw.headers["x-tollfree-provider"] and raw.headers["x-tollfree-model"], raw.headers


@check
def streaming():
    text, reason = "", None
    with answered(lambda: client.chat.completions.create(model=MODELS["any"], messages=user("hello"), stream=True)) as stream:
        for chunk in stream:
            assert chunk.choices, "the usage chunk was not requested"
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
    assert text and reason == "stop", (text, reason)


@check
def usage_in_a_stream_when_asked():
    call = lambda: client.chat.completions.create(
        model=MODELS["any"], messages=user("hello"), stream=True, stream_options={"include_usage": True}
    )
    usages = [chunk.usage for chunk in answered(call) if chunk.usage]
    assert usages and usages[-1].total_tokens > 0, usages


@check
def tools_over_several_turns():
    for model in MODELS["tools"]:
        messages = user("What is the weather in Paris?")
        for turn in range(2):
            message = answered(
                lambda: client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], max_tokens=300)
            ).choices[0].message
            assert message.tool_calls, (model, turn, message)
            messages.append(message.model_dump(exclude_none=True))
            for number, call in enumerate(message.tool_calls):
                assert "city" in json.loads(call.function.arguments), (model, call)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{20 + turn + number} degrees"})
            message = answered(
                lambda: client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], max_tokens=300)
            ).choices[0].message
            assert "degrees" in message.content, (model, message)
            messages.append({"role": "assistant", "content": message.content})
            messages += user("And tomorrow?")


@check
def tools_in_a_stream():
    for model in MODELS["tools"]:
        call = lambda: client.chat.completions.create(
            model=model, messages=user("Weather in Paris?"), tools=[WEATHER], stream=True, max_tokens=300
        )
        calls = {}
        for chunk in answered(call):
            for piece in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                calls.setdefault(piece.index, "")
                calls[piece.index] += piece.function.arguments or ""
        assert "city" in json.loads(calls[0]), (model, calls)


class City(BaseModel):
    name: str
    inhabitants: int
    rivers: list[str]


@check
def structured_output():
    call = lambda: client.chat.completions.parse(model=MODELS["schema"], messages=user("Paris"), response_format=City)
    city = answered(call).choices[0].message.parsed
    assert isinstance(city, City), city


@check
def images():
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    answer = answered(lambda: client.chat.completions.create(model=MODELS["vision"], messages=user(parts)))
    assert "1 image" in answer.choices[0].message.content, answer


@check
def several_answers():
    answer = answered(lambda: client.chat.completions.create(model=MODELS["several"], messages=user("hello"), n=2))
    assert [choice.index for choice in answer.choices] == [0, 1], answer


@check
def unknown_fields():
    answer = answered(
        lambda: client.chat.completions.create(
            model=MODELS["loose"], messages=user("hello"), extra_body={"x_unknown": {"deep": [1.0, None]}}
        )
    )
    assert answer.choices[0].message.content, answer


@check
def models():
    ids = [model.id for model in client.models.list()]
    assert "free" in ids and MODELS["metered"] in ids, ids
    assert client.models.retrieve(MODELS["metered"]).id == MODELS["metered"]


@check
def error_classes():
    unknown = OpenAI(base_url=BASE_URL, api_key="sk-tf-0000-unknown", max_retries=0)
    create = client.chat.completions.create
    raises(openai.AuthenticationError, 401, "invalid_api_key", lambda: unknown.models.list())
    missing = raises(
        openai.NotFoundError, 404, "model_not_found", lambda: create(model="no-such-model", messages=user("hello"))
    )
    assert missing.param == "model", missing.param
    wrong = raises(openai.BadRequestError, 400, "invalid_value", lambda: create(model=MODELS["any"], messages=[]))
    assert wrong.param == "messages", wrong.param


@check
def a_rate_limit_names_a_true_wait():
    ask = lambda: client.chat.completions.create(
        model=MODELS["metered"], messages=user("hello [[tokens=1 ttft=0]]"), max_tokens=1000
    )
    for _ in range(40):
        try:
            ask()
        except openai.RateLimitError as error:
            limit = error
            break
    else:
        raise AssertionError("never limited")
    assert limit.code == "budget_exhausted", repr(limit)
    wait = int(limit.response.headers["retry-after-ms"]) / 1000
    assert 0 < wait < 61 and float(limit.response.headers["retry-after"]) >= wait, limit.response.headers
    time.sleep(wait)
    assert ask().choices[0].message.content is not None


@check
def the_sdks_own_retries_are_enough():
    patient = OpenAI(base_url=BASE_URL, api_key="anything", max_retries=2)
    for _ in range(3):
        answer = patient.chat.completions.create(
            model=MODELS["metered"], messages=user("hello [[tokens=1 ttft=0]]"), max_tokens=1000
        )
        assert answer.choices, answer


@check
def leaving_a_stream_early():
    async def run():
        async with AsyncOpenAI(base_url=BASE_URL, api_key="anything", max_retries=2) as session:
            stream = await session.chat.completions.create(
                model=MODELS["loose"], messages=user("go on [[tokens=2000 chunk=20]]"), stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
            await stream.close()

    asyncio.run(run())


@check
def embeddings():
    # The SDK asks for base64 unless told otherwise, and decodes it.
    texts = ["one", "two", "one"]
    decoded = client.embeddings.create(model=MODELS["embedding"], input=texts)
    assert [item.index for item in decoded.data] == [0, 1, 2], decoded
    assert decoded.data[0].embedding == decoded.data[2].embedding != decoded.data[1].embedding
    assert len(decoded.data[0].embedding) == 3072 and decoded.usage.prompt_tokens > 0, decoded.usage
    floats = client.embeddings.create(model=MODELS["embedding"], input="one", encoding_format="float").data[0].embedding
    assert all(abs(a - b) < 1e-6 for a, b in zip(floats, decoded.data[0].embedding)), "the same numbers"
    short = client.embeddings.create(model=MODELS["embedding"], input="one", dimensions=256)
    assert len(short.data[0].embedding) == 256
    for wrong in [{"dimensions": 5}, {"input": [1, 2, 3]}, {"model": MODELS["any"]}]:
        arguments = {"model": MODELS["embedding"], "input": "one"} | wrong
        code = "invalid_value" if "input" in wrong else "unsupported_by_models"
        raises(openai.BadRequestError, 400, code, lambda: client.embeddings.create(**arguments))


@check
def three_hundred_texts():
    texts = [f"text number {number}" for number in range(300)]
    raw = client.embeddings.with_raw_response.create(model=MODELS["many"], input=texts)
    answer, calls = raw.parse(), -(-300 // MODELS["takes"])
    assert [item.index for item in answer.data] == list(range(300))
    assert raw.headers["x-tollfree-attempts"].count(";ok") == calls, raw.headers["x-tollfree-attempts"]
    alone = client.embeddings.create(model=MODELS["many"], input=texts[299])
    assert alone.data[0].embedding == answer.data[299].embedding, "the order is kept"


@check
def completions():
    ask = {"model": MODELS["fim"], "prompt": "def f(n):", "suffix": "return n", "max_tokens": 40}
    whole = client.completions.create(**ask)
    assert whole.object == "text_completion" and whole.choices[0].text and whole.usage.total_tokens > 0, whole
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True) if chunk.choices]
    assert "".join(pieces) == whole.choices[0].text, pieces
    plain = client.completions.create(model=MODELS["loose"], prompt="say something", max_tokens=40)
    assert plain.choices[0].text, plain
    raises(
        openai.BadRequestError, 400, "unsupported_by_models",
        lambda: client.completions.create(**ask | {"model": MODELS["schema"]}),
    )


@check
def transcriptions():
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 12))

    def ask(model=MODELS["whisper"], **more):
        return client.audio.transcriptions.create(model=model, file=("talk.wav", recording.getvalue()), **more)

    plain = ask()
    assert plain.text and plain.usage.seconds == 12, plain
    verbose = ask(response_format="verbose_json", timestamp_granularities=["segment"])
    assert verbose.text == plain.text and len(verbose.segments) == 3 and float(verbose.duration) == 12, verbose
    assert ask(response_format="srt").startswith("1\n00:00:00,000 --> "), "subtitles"
    assert ask(response_format="text").strip() == plain.text.strip()
    # One provider sends its transcript as a whole, the other in pieces.
    for model in (MODELS["whisper"], "voxtral-mini-latest"):
        events = list(ask(model, stream=True))
        assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"], events
        assert "".join(event.delta for event in events[:-1]) == events[-1].text == plain.text
    english = client.audio.translations.create(model="whisper-large-v3", file=("talk.wav", recording.getvalue()))
    assert english.text, english


@check
def moderations():
    result = client.moderations.create(input=["fine", "violence_and_threats"]).results
    assert [each.flagged for each in result] == [False, True] and result[1].categories.violence, result
    guarded = client.moderations.create(model="openai/gpt-oss-safeguard-20b", input=["fine", "hate"]).results
    assert [each.flagged for each in guarded] == [False, True] and guarded[1].categories.hate, guarded


run_checks()
