//! async-openai. Usage: loop BASE_URL MODELS_JSON. See ../../loop.py.

use async_openai::{
    Client,
    config::OpenAIConfig,
    types::chat::{CreateChatCompletionRequest, CompletionUsage},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const QUESTIONS: [&str; 2] = ["What is the weather in Paris?", "And tomorrow?"];

/// Sends the history once. Returns the message, as the library's types write it, and its usage.
async fn ask(
    client: &Client<OpenAIConfig>,
    model: &str,
    messages: &[Value],
    stream: bool,
) -> Result<(Value, CompletionUsage), Failure> {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let function = json!({ "name": "get_weather", "description": "The weather of a city", "parameters": parameters });
    let mut request =
        json!({ "model": model, "messages": messages, "tools": [{ "type": "function", "function": function }] });
    if !stream {
        let request: CreateChatCompletionRequest = serde_json::from_value(request)?;
        let answer = client.chat().create(request).await?;
        let choice = answer.choices.first().ok_or("no choice")?;
        return Ok((serde_json::to_value(&choice.message)?, answer.usage.ok_or("no usage")?));
    }
    request["stream"] = true.into();
    request["stream_options"] = json!({ "include_usage": true });
    let mut chunks = client.chat().create_stream(serde_json::from_value(request)?).await?;
    let (mut text, mut calls, mut usages) = (String::new(), Vec::<Value>::new(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        usages.extend(chunk.usage);
        for choice in chunk.choices {
            text += choice.delta.content.as_deref().unwrap_or_default();
            for piece in choice.delta.tool_calls.into_iter().flatten() {
                let function = piece.function.ok_or("a piece without a function")?;
                let at = piece.index as usize;
                if at == calls.len() {
                    let name = function.name.ok_or("a call without a name")?;
                    calls.push(json!({ "id": piece.id, "type": "function", "function": { "name": name, "arguments": "" } }));
                }
                let written = calls[at]["function"]["arguments"].as_str().unwrap_or_default();
                let arguments = written.to_owned() + function.arguments.as_deref().unwrap_or_default();
                calls[at]["function"]["arguments"] = arguments.into();
            }
        }
    }
    let mut message = json!({ "role": "assistant", "content": text });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    if usages.len() != 1 {
        return Err(format!("usage came {} times", usages.len()).into());
    }
    Ok((message, usages.remove(0)))
}

async fn two_turns(client: &Client<OpenAIConfig>, model: &str, stream: bool) -> Result<Value, Failure> {
    let (mut messages, mut input, mut output) = (Vec::new(), 0, 0);
    for (turn, question) in QUESTIONS.iter().enumerate() {
        let result = format!("{} degrees", 20 + turn);
        messages.push(json!({ "role": "user", "content": question }));
        for is_answer in [false, true] {
            let (message, usage) = ask(client, model, &messages, stream).await?;
            (input, output) = (input + usage.prompt_tokens, output + usage.completion_tokens);
            messages.push(message.clone());
            if is_answer {
                if !message["content"].as_str().is_some_and(|text| text.contains(&result)) {
                    return Err(format!("no result of the tool in the answer: {message}").into());
                }
                continue;
            }
            let calls = message["tool_calls"].as_array().filter(|calls| !calls.is_empty());
            for call in calls.ok_or_else(|| format!("no call: {message}"))? {
                let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap_or_default())?;
                if !arguments["city"].is_string() {
                    return Err(format!("the arguments are `{arguments}`").into());
                }
                messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": result }));
            }
        }
    }
    Ok(json!({ "model": model, "stream": stream, "input": input, "output": output }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let base_url = arguments.next().ok_or("BASE_URL is missing")?;
    let models: Vec<String> = serde_json::from_str(&arguments.next().ok_or("MODELS_JSON is missing")?)?;
    let client = Client::with_config(OpenAIConfig::new().with_api_base(base_url).with_api_key("anything"));
    for model in &models {
        for stream in [false, true] {
            let line = two_turns(&client, model, stream).await;
            println!("{}", line.map_err(|error| format!("{model}, stream {stream}: {error}"))?);
        }
    }
    println!("all loops passed");
    Ok(())
}
