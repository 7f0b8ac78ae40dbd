"""pydantic-ai. Usage: pydantic_ai_loop.py BASE_URL MODELS_JSON"""

import asyncio

from loop import BASE_URL, QUESTIONS, check_answer, report, run, weather
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def both_turns(model, stream):
    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=BASE_URL, api_key="anything")))
    turn, called, history, usages = 0, 0, [], []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a city."""
        nonlocal called
        called += 1
        return weather(turn)

    for turn, question in enumerate(QUESTIONS):
        if stream:
            async with agent.run_stream(question, message_history=history) as result:
                text = await result.get_output()
                usage, history = result.usage, result.all_messages()
        else:
            result = await agent.run(question, message_history=history)
            text, usage, history = result.output, result.usage, result.all_messages()
        usages.append((usage.input_tokens, usage.output_tokens))
        assert called == turn + 1, f"the tool was called {called} times"
        check_answer(text, turn)
    report(model, stream, usages)


run(lambda model, stream: asyncio.run(both_turns(model, stream)))
