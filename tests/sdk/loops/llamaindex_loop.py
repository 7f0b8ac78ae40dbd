"""LlamaIndex. Usage: llamaindex_loop.py BASE_URL MODELS_JSON"""

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from loop import BASE_URL, QUESTIONS, check_answer, report, run, weather


def get_weather(city: str) -> str:
    """The weather of a city."""
    return city


def loop(model, stream):
    llm = OpenAILike(
        model=model,
        api_base=BASE_URL,
        api_key="anything",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        additional_kwargs={"stream_options": {"include_usage": True}} if stream else {},
    )
    tools, history, usages = [FunctionTool.from_defaults(get_weather)], [], []

    def ask():
        if stream:
            counted = []
            for answer in llm.stream_chat_with_tools(tools, chat_history=history):
                counted += [answer.raw.usage] if answer.raw.usage else []
            assert len(counted) == 1, f"usage came {len(counted)} times"
            usage = counted[0]
        else:
            answer = llm.chat_with_tools(tools, chat_history=history)
            usage = answer.raw.usage
        usages.append((usage.prompt_tokens, usage.completion_tokens))
        history.append(answer.message)
        return answer

    for turn, question in enumerate(QUESTIONS):
        history.append(ChatMessage(role=MessageRole.USER, content=question))
        calls = llm.get_tool_calls_from_response(ask())
        assert calls, f"no call: {history[-1]}"
        for call in calls:
            assert "city" in call.tool_kwargs, call
            result = {"tool_call_id": call.tool_id}
            history.append(ChatMessage(role=MessageRole.TOOL, content=weather(turn), additional_kwargs=result))
        check_answer(ask().message.content, turn)
    report(model, stream, usages)


run(loop)
