"""LangChain. Usage: langchain_loop.py BASE_URL MODELS_JSON"""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from loop import BASE_URL, QUESTIONS, check_answer, report, run, weather


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return city


def loop(model, stream):
    chat = ChatOpenAI(base_url=BASE_URL, api_key="anything", model=model, max_retries=0, stream_usage=True)
    chat, history, usages = chat.bind_tools([get_weather]), [], []

    def ask():
        if stream:
            answer = None
            for chunk in chat.stream(history):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = chat.invoke(history)
        usages.append((answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]))
        history.append(answer)
        return answer

    for turn, question in enumerate(QUESTIONS):
        history.append(HumanMessage(question))
        calls = ask().tool_calls
        assert calls, f"no call: {history[-1]}"
        for call in calls:
            assert "city" in call["args"], call
            history.append(ToolMessage(weather(turn), tool_call_id=call["id"]))
        check_answer(ask().content, turn)
    report(model, stream, usages)


run(loop)
