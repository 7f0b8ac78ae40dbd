//! Agents' loops with the libraries that people use, at all five simulated providers: turns with a tool, whole and streamed. The
//! providers refuse what the real ones refuse, and the tokens that each library counts are those of the provider.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::support::{app::TestApp, eventually, process::Process, simulator::Simulator};

/// A model of each provider.
const MODELS: [&str; 5] = [
    "groq/openai/gpt-oss-120b",
    "gemini/gemini-3.8-flash",
    "cerebras/gpt-oss-120b",
    "mistral/mistral-medium-2604",
    "ollama/llama3.2",
];
/// Where a conversation ends that was handed on by all five.
const LAST: &str = "groq/openai/gpt-oss-20b";
const TURNS: usize = 6;

const PYTHON: &str = ".venv/bin/python tests/sdk/loops/";
const LLAMAINDEX: &str = ".sdk/llamaindex/bin/python tests/sdk/loops/";
const NODE: &str = "node tests/sdk/loops/";
const JAVA: &str = "java -XX:TieredStopAtLevel=1 -cp .sdk/java/classes:.sdk/java/libraries/* ";

/// A gateway on the simulated providers, which knows none of their limits.
async fn gateway(simulator: &Simulator) -> TestApp {
    let none = ["rpm", "rph", "rpd", "tpm", "tph", "tpd"].map(|name| format!("{name} = \"none\"")).join(", ");
    let all = [&MODELS[..], &[LAST]].concat();
    let tables = all.iter().map(|model| {
        let (provider, id) = model.split_once('/').unwrap();
        format!("[providers.{provider}.models.\"{id}\"]\nlimits = {{ {none} }}\n")
    });
    let file = tables.collect::<String>() + &format!("[models.relay]\nmembers = {all:?}\nstrategy = \"listed\"\n");
    let providers = ["groq", "gemini", "cerebras", "mistral", "ollama"];
    providers
        .iter()
        .fold(TestApp::setup(), |app, provider| app.simulated(simulator, provider))
        .file(&file)
        .start()
        .await
}

/// Runs a program of `tests/sdk/loops`. Returns what it has printed for each model and form.
async fn run(library: &str, arguments: &[&str], models: &[&str], app: &TestApp, env: &[(&str, &str)]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut words: Vec<String> = library.split(' ').map(str::to_owned).collect();
    for word in words.iter_mut().filter(|word| word.starts_with(['.', 't']) && word.contains('/')) {
        // A class path is a list of paths.
        let paths = word.split(':').map(|path| root.join(path).display().to_string());
        *word = paths.collect::<Vec<_>>().join(":");
    }
    let program = Path::new(&words[0]).to_owned();
    assert!(program.is_relative() || program.exists(), "{} is missing: run `make setup`", program.display());
    let (url, models) = (app.url("/v1"), json!(models).to_string());
    let mut args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    args.extend([url.as_str(), models.as_str()]);
    args.extend(arguments);
    let log = app.folder.path().join("loop.log");
    let env = [&[("PYTHONDONTWRITEBYTECODE", "1")], env].concat();
    let mut process = Process::start("loop", &program, &args, env, app.folder.path(), &log);
    let status = eventually(Duration::from_mins(4), "the loops end", async || process.ended()).await;
    let output = process.log();
    assert!(
        status.success() && output.contains("all loops passed"),
        "{library} {arguments:?}\n{output}\n{}",
        app.log()
    );
    output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object).collect()
}

/// Input and output tokens by provider, as the providers have counted them. No request was refused for its form.
async fn counted(simulator: &Simulator) -> BTreeMap<String, (i64, i64)> {
    let audit = simulator.audit().await;
    let mut tokens = BTreeMap::new();
    for (provider, report) in audit["providers"].as_object().unwrap() {
        assert_eq!(report["rejected"], json!({}), "{provider}");
        for model in
            report["accounts"].as_object().unwrap().values().flat_map(|models| models.as_object().unwrap().values())
        {
            let number = |name: &str| model["tally"][name].as_i64().unwrap();
            let sums: &mut (i64, i64) = tokens.entry(provider.clone()).or_default();
            *sums = (sums.0 + number("tokens_in"), sums.1 + number("tokens_out"));
        }
    }
    tokens
}

/// A profile that differs from an unlimited one in what all providers share. Gemini does not think: it would count that only in
/// the total, which clients do not read.
fn profile(every_provider: &Value) -> Value {
    let gemini = json!({ "latency": { "reasoning_tokens": 0 } });
    json!({ "base": "unlimited", "every_provider": every_provider, "providers": { "gemini": gemini } })
}

/// Two turns with a tool at every provider, in every form that the library has.
async fn loops_at_every_provider(library: &str, arguments: &[&str], forms: usize) {
    let simulator = Simulator::with(profile(&json!({}))).await;
    let app = gateway(&simulator).await;
    let reported = run(library, arguments, &MODELS, &app, &[]).await;
    assert_eq!(reported.len(), MODELS.len() * forms, "{reported:?}");
    let mut tokens = BTreeMap::<String, (i64, i64)>::new();
    for line in &reported {
        let provider = line["model"].as_str().unwrap().split('/').next().unwrap();
        let sums = tokens.entry(provider.to_owned()).or_default();
        *sums = (sums.0 + line["input"].as_i64().unwrap(), sums.1 + line["output"].as_i64().unwrap());
    }
    assert_eq!(tokens, counted(&simulator).await, "{library} {arguments:?} counts what the providers count");
}

/// Providers that take two requests each: every turn of a conversation is handed on to the next by their 429.
async fn relay() -> (Simulator, TestApp) {
    let two = json!({ "window": "sliding", "every_model": { "limits": { "rpm": 2 } } });
    let simulator = Simulator::with(profile(&two)).await;
    let app = gateway(&simulator).await;
    (simulator, app)
}

/// Each of the six models has answered both requests of one turn, and all but the last have refused the next.
async fn was_handed_on(simulator: &Simulator) {
    let audit = simulator.audit().await;
    let providers = audit["providers"].as_object().unwrap();
    let tallies = providers.values().flat_map(|provider| provider["accounts"].as_object().unwrap().values());
    let tallies: Vec<&Value> =
        tallies.flat_map(|models| models.as_object().unwrap().values()).map(|m| &m["tally"]).collect();
    let admitted: Vec<i64> = tallies.iter().map(|tally| tally["admitted"].as_i64().unwrap()).collect();
    assert_eq!(admitted, [2; TURNS], "{audit}");
    let refused = tallies.iter().filter(|tally| tally["refused"] != json!({})).count();
    assert_eq!(refused, TURNS - 1, "{audit}");
}

async fn a_conversation_is_handed_on(library: &str, arguments: &[&str], form: &str) {
    let (simulator, app) = relay().await;
    let turns = TURNS.to_string();
    let reported = run(library, arguments, &["relay"], &app, &[("TURNS", &turns), ("FORM", form)]).await;
    was_handed_on(&simulator).await;
    let all = counted(&simulator).await.into_values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    assert_eq!((reported[0]["input"].as_i64(), reported[0]["output"].as_i64()), (Some(all.0), Some(all.1)));
}

macro_rules! libraries {
    ($($name:ident: $library:expr, $arguments:expr, $forms:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                loops_at_every_provider(&$library, &$arguments, $forms).await;
            }
        )*
    };
}

libraries! {
    openai_python_creates: format!("{PYTHON}openai_python.py"), ["create"], 2;
    openai_python_streams: format!("{PYTHON}openai_python.py"), ["stream"], 1;
    openai_python_parses: format!("{PYTHON}openai_python.py"), ["parse"], 1;
    openai_node_runs_tools: format!("{NODE}openai_node.mjs"), ["runTools"], 2;
    openai_node_streams: format!("{NODE}openai_node.mjs"), ["stream"], 1;
    the_ai_sdk_of_vercel_loops: format!("{NODE}vercel.mjs"), [], 2;
    langchain_loops: format!("{PYTHON}langchain_loop.py"), [], 2;
    llamaindex_loops: format!("{LLAMAINDEX}llamaindex_loop.py"), [], 2;
    pydantic_ai_loops: format!("{PYTHON}pydantic_ai_loop.py"), [], 2;
    openai_go_loops: ".sdk/go/loop", [], 2;
    async_openai_loops: ".sdk/rust/target/debug/tollfree-sdk-loop", [], 2;
    openai_java_loops: format!("{JAVA}Loop"), [], 2;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_is_handed_on_at_every_turn() {
    for (arguments, form) in
        [(["create"], "whole"), (["create"], "streamed"), (["stream"], "streamed"), (["parse"], "whole")]
    {
        a_conversation_is_handed_on(&format!("{PYTHON}openai_python.py"), &arguments, form).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_is_handed_on_at_every_turn() {
    for (arguments, form) in [(["runTools"], "whole"), (["runTools"], "streamed"), (["stream"], "streamed")] {
        a_conversation_is_handed_on(&format!("{NODE}openai_node.mjs"), &arguments, form).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_of_vercel_is_handed_on_at_every_turn() {
    for form in ["whole", "streamed"] {
        a_conversation_is_handed_on(&format!("{NODE}vercel.mjs"), &[], form).await;
    }
}

/// A call of the tool or an answer, as a caller puts it together.
async fn ask(app: &TestApp, messages: &[Value], stream: bool) -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let tool = json!({ "type": "function", "function": { "name": "get_weather", "parameters": parameters } });
    let body = json!({ "model": "relay", "messages": messages, "tools": [tool] });
    if !stream {
        let answer = app.chat_with(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        return answer.json()["choices"][0]["message"].take();
    }
    let finished = app.stream_with(body).await.rest().await;
    assert!(finished.is_done(), "{:?}", finished.events);
    let mut message = json!({ "content": "" });
    for mut chunk in finished.chunks() {
        for (name, value) in chunk["choices"][0]["delta"].as_object_mut().into_iter().flatten() {
            match (name.as_str(), value) {
                ("tool_calls", Value::Array(pieces)) => {
                    for piece in pieces {
                        let at = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
                        let calls = &mut message["tool_calls"];
                        if calls.is_null() {
                            *calls = json!([]);
                        }
                        if at == calls.as_array().unwrap().len() {
                            calls.as_array_mut().unwrap().push(piece.clone());
                            continue;
                        }
                        let more = piece["function"]["arguments"].as_str().unwrap_or_default();
                        let arguments = &mut calls[at]["function"]["arguments"];
                        *arguments = (arguments.as_str().unwrap().to_owned() + more).into();
                    }
                }
                (_, Value::String(text)) => {
                    message[name] = (message[name].as_str().unwrap_or_default().to_owned() + text).into();
                }
                (_, value) => message[name] = value.take(),
            }
        }
    }
    message
}

/// Everything that each provider has added to a message goes on to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_six_turns_goes_round_all_dialects() {
    for stream in [false, true] {
        let (simulator, app) = relay().await;
        let mut messages = vec![json!({ "role": "system", "content": "Use the tool." })];
        for turn in 0..TURNS {
            messages.push(json!({ "role": "user", "content": format!("What is the weather on day {turn}?") }));
            let called = ask(&app, &messages, stream).await;
            let calls = called["tool_calls"].as_array().unwrap_or_else(|| panic!("turn {turn}: {called}")).clone();
            messages.push(called);
            for call in calls {
                let result = format!("{turn} degrees");
                messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": result }));
            }
            let answer = ask(&app, &messages, stream).await;
            assert!(answer["content"].as_str().unwrap().contains(&format!("{turn} degrees")), "{answer}");
            messages.push(answer);
        }
        was_handed_on(&simulator).await;
        counted(&simulator).await;
    }
}
