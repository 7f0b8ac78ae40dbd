//! Parsed requests, and the error for each mistake.

use bytes::Bytes;

use super::{BadRequest, decode};
use crate::domain::{Capabilities, ChatRequest};

fn read(body: &str) -> Result<ChatRequest, BadRequest> {
    decode(Bytes::copy_from_slice(body.as_bytes()))
}

fn good(body: &str) -> ChatRequest {
    read(body).unwrap_or_else(|e| panic!("{body}: {e}"))
}

/// The error of a body with these members beside `model` and `messages`.
fn bad_member(members: &str) -> (&'static str, String, String) {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{members}}}"#);
    let bad = read(&body).expect_err(&body);
    (bad.code, bad.param.unwrap_or_default(), bad.message)
}

fn bad_message(message: &str) -> (String, String) {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{message}]}}"#);
    let bad = read(&body).expect_err(&body);
    assert_eq!(bad.code, "invalid_value", "{body}");
    (bad.param.unwrap_or_default(), bad.message)
}

#[test]
fn all_routing_properties_are_parsed() {
    let request = good(
        r#"{"model":"free","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":7,
        "messages":[{"role":"system","content":"Be brief."},
          {"role":"user","content":[{"type":"text","text":"héllo 世界"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
          {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"1","content":"done"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"browser_search"}],
        "stop":["a","b"],"n":2,"reasoning_effort":"low","tool_choice":"required","logprobs":false,"unknown":{"a":[1.0e-3]}}"#,
    );
    assert_eq!(request.model, "free");
    assert!(request.stream && request.include_usage && request.remote_images);
    assert_eq!((request.max_tokens, request.n, request.tools, request.stops, request.images), (Some(7), 2, 2, 2, 1));
    assert_eq!(request.reasoning_effort.as_deref(), Some("low"));
    assert_eq!(request.parameters, ["n", "tool_choice"]);
    assert!(request.needs.has(Capabilities::TOOLS.with(Capabilities::VISION)));
    let size = request.size;
    assert_eq!((size.messages, size.ascii_chars, size.cjk_chars, size.other_chars, size.images), (4, 21, 2, 1, 1));
    assert!(size.schema_chars > 80);
}

#[test]
fn an_escape_counts_as_its_character() {
    let size = good(r#"{"model":"m","messages":[{"role":"user","content":"a\n\"\\\u4e2d\ud83d\ude00\u00e9b"}]}"#).size;
    assert_eq!((size.ascii_chars, size.cjk_chars, size.other_chars), (5, 1, 2));
}

#[test]
fn null_is_an_absent_parameter() {
    let request = good(
        r#"{"model":"m","messages":[{"role":"user","content":"x","name":null}],"n":null,"stream":null,"max_tokens":null,
        "tools":null,"stop":null,"stream_options":null,"tool_choice":null,"response_format":null,"temperature":null}"#,
    );
    assert_eq!((request.n, request.stream, request.max_tokens, request.parameters.len()), (1, false, None, 0));
}

#[test]
fn malformed_json_is_reported_with_line_and_column() {
    for (body, found) in [
        ("", "line 1 column 1"),
        ("{\"model\":\"m\",\n  \"messages\": [}", "line 2 column 16"),
        ("{\"model\":\"m\"} {}", "trailing characters after the value at line 1 column 15"),
        ("{\"model\":\"m\",}", "line 1 column 14"),
        ("[1", "line 1 column 3"),
        ("{\"model\":5,", "line 1 column 12"),
        ("{\"model\":\"m\",\"model\":\"n\"}", "`model` occurs twice in the body, again at line 1 column 14"),
        ("{\"model\":\"m\",\"mod\\u0065l\":\"n\"}", "`model` occurs twice"),
    ] {
        let bad = read(body).expect_err(body);
        assert_eq!(bad.code, "invalid_json", "{body}");
        assert!(bad.message.contains(found), "{body}: {}", bad.message);
    }
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    assert!(read(&deep).unwrap_err().message.contains("deeper than 128"));
    let bad = decode(Bytes::from_static(b"{\"model\":\"\xff\"}")).unwrap_err();
    assert!(bad.message.contains("byte 10"), "{}", bad.message);
}

#[test]
fn a_name_that_servers_read_differently_is_refused_with_its_path() {
    let message = |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"{more}}}]}}"#);
    let top = |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{more}}}"#);
    for (body, path) in [
        (message(r#","Content":"y""#), "messages[0].Content"),
        (message(r#","cont\u0065nt":"y""#), "messages[0].content"),
        (top(r#""N":5"#), "N"),
        (top(r#""meſſages":[]"#), "meſſages"),
        (top(r#""stream_options":{"include_us\u0061ge":false}"#), "stream_options.include_usage"),
        (top(r#""x":{"y":[{"z":1,"z":2}]}"#), "x.y[0].z"),
    ] {
        let bad = read(&body).expect_err(&body);
        assert_eq!((bad.code, bad.param.as_deref()), ("invalid_json", Some(path)), "{body}");
    }
    let schema = top(
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"Model":{},"Content":{}}}}}],
        "metadata":{"User":"u"}"#,
    );
    assert!(read(&schema).is_ok(), "schemas and metadata have names of their own");
}

#[test]
fn what_may_cost_money_or_lead_inside_is_noted() {
    let request = good(
        r#"{"model":"m","messages":[{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"http:\/\/10.0.0.1\/a"}}]}],
        "models":["x"],"top_k":3,"tools":[{"type":"function","function":{"name":"f"}},{"type":"web_search"}]}"#,
    );
    assert!(request.private_urls && request.built_in_tools && !request.may_cost_money);
    assert_eq!(request.others, ["models", "top_k"]);
    for (part, is_private) in [
        (r#""type":"file","file":{"filename":"http://10.0.0.1/a","file_data":"https://page.example/a.pdf"}"#, false),
        (r#""type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0="}"#, false),
        (r#""type":"input_audio","input_audio":{"data":"/+NIxAAA","format":"mp3"}"#, false),
        (r#""type":"file","file":{"filename":"a","file_data":"\u0068ttp:\/\/10.0.0.1/a"}"#, true),
        (r#""type":"file","file":{"url":"file:///etc/passwd"}"#, true),
        (r#""type":"input_audio","input_audio":{"data":"http://metadata.internal/a"}"#, true),
    ] {
        let request = good(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{{part}}}]}}]}}"#));
        assert_eq!(request.private_urls, is_private, "{part}");
    }
    let others: Vec<String> = (0..65).map(|i| format!(r#","p{i}":1"#)).collect();
    let many = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{}}}"#, others.concat());
    assert!(read(&many).unwrap_err().message.contains("more than 64 unknown parameters"));
}

#[test]
fn a_wrong_parameter_is_reported_with_its_name_and_the_expected_value() {
    for (members, param, found) in [
        (r#""temperature":"hot""#, "temperature", "a number"),
        (r#""temperature":2.1"#, "temperature", "from 0 to 2, found 2.1"),
        (r#""top_p":-1"#, "top_p", "from 0 to 1"),
        (r#""n":0"#, "n", "an integer from 1 to 128, found 0"),
        (r#""n":1.5"#, "n", "found 1.5"),
        (r#""max_tokens":0"#, "max_tokens", "a positive integer"),
        (r#""max_completion_tokens":"9""#, "max_completion_tokens", "found a string"),
        (r#""stream":"yes""#, "stream", "a boolean"),
        (r#""stream_options":true"#, "stream_options", "an object"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage", "a boolean"),
        (r#""stop":[1]"#, "stop[0]", "a string"),
        (r#""stop":{}"#, "stop", "a string or an array"),
        (r#""tools":{}"#, "tools", "an array"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].function", "Missing"),
        (r#""tools":[{"function":{"name":"f"}}]"#, "tools[0].type", "Missing"),
        (r#""tools":[{"type":"function","function":{"name":7}}]"#, "tools[0].function.name", "a string"),
        (r#""tools":[{"type":"function","function":{}}]"#, "tools[0].function.name", "Missing"),
        (r#""tool_choice":1"#, "tool_choice", "a string or an object"),
        (r#""response_format":{"type":"xml"}"#, "response_format.type", "found `xml`"),
        (r#""response_format":"json""#, "response_format", "an object"),
        (r#""logprobs":1"#, "logprobs", "a boolean"),
        (r#""reasoning_effort":3"#, "reasoning_effort", "a string"),
    ] {
        let (code, at, message) = bad_member(members);
        assert_eq!((code, at.as_str()), ("invalid_value", param), "{members}: {message}");
        assert!(message.contains(found), "{members}: {message}");
    }
}

#[test]
fn a_wrong_message_is_reported_with_its_path() {
    for (message, param, found) in [
        (r#""hi""#, "messages[1]", "an object"),
        (r#"{"content":"x"}"#, "messages[1].role", "Missing"),
        (r#"{"role":"robot","content":"x"}"#, "messages[1].role", "`robot`"),
        (r#"{"role":"user"}"#, "messages[1].content", "Missing"),
        (r#"{"role":"user","content":null}"#, "messages[1].content", "found null"),
        (r#"{"role":"user","content":5}"#, "messages[1].content", "a string or an array"),
        (r#"{"role":"user","content":["x"]}"#, "messages[1].content[0]", "an object"),
        (r#"{"role":"user","content":[{"text":"x"}]}"#, "messages[1].content[0].type", "Missing"),
        (r#"{"role":"user","content":[{"type":"text"}]}"#, "messages[1].content[0].text", "Missing"),
        (r#"{"role":"user","content":[{"type":"smell","x":1}]}"#, "messages[1].content[0].type", "`smell`"),
        (
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":5}}]}"#,
            "messages[1].content[0].image_url.url",
            "a string",
        ),
        (r#"{"role":"assistant","tool_calls":{}}"#, "messages[1].tool_calls", "an array"),
        (
            r#"{"role":"assistant","tool_calls":[{"function":{"name":{},"arguments":{}}}]}"#,
            "messages[1].tool_calls[0].function.name",
            "found an object",
        ),
    ] {
        let (at, error) = bad_message(message);
        assert_eq!(at, param, "{message}: {error}");
        assert!(error.contains(found), "{message}: {error}");
    }
}

#[test]
fn model_and_messages_are_required() {
    for (body, param) in [
        ("{}", "model"),
        (r#"{"messages":[{"role":"user","content":"x"}]}"#, "model"),
        (r#"{"model":null,"messages":[{"role":"user","content":"x"}]}"#, "model"),
        (r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#, "model"),
        (r#"{"model":"m"}"#, "messages"),
        (r#"{"model":"m","messages":null}"#, "messages"),
        (r#"{"model":"m","messages":[]}"#, "messages"),
    ] {
        let bad = read(body).expect_err(body);
        assert_eq!((bad.code, bad.param.as_deref()), ("invalid_value", Some(param)), "{body}");
    }
}

#[test]
fn a_body_must_be_an_object() {
    for (body, found) in [("[]", "an array"), ("\"hi\"", "a string"), ("5", "a number"), ("null", "null")] {
        let bad = read(body).expect_err(body);
        assert_eq!((bad.code, bad.param), ("invalid_json", None), "{body}");
        assert_eq!(bad.message, format!("The body must be a JSON object, found {found}."));
    }
}

#[test]
fn an_inline_image_is_not_remote() {
    let body = |url: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    assert!(!good(&body("data:image/png;base64,AAAA")).remote_images);
    assert!(!good(&body("DATA:image/png;base64,AAAA")).remote_images);
    assert!(good(&body("http://x")).remote_images);
}

#[test]
fn a_byte_order_mark_is_skipped_and_utf_16_is_named() {
    let body = r#"{"model":"free","messages":[{"role":"user","content":"hi"}]}"#;
    let marked = [b"\xEF\xBB\xBF", body.as_bytes()].concat();
    assert_eq!(decode(marked.into()).unwrap().body, body, "the provider gets the body without the mark");
    let utf_16: Vec<u8> = std::iter::once(0xFEFF).chain(body.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let bad = decode(utf_16.into()).unwrap_err();
    assert!(bad.code == "invalid_json" && bad.message.contains("UTF-16"), "{bad:?}");
}

#[test]
fn a_custom_tool_is_noted_since_it_must_not_be_cut() {
    let read = |tool: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{tool}]}}"#);
        decode(body.into()).unwrap().parameters
    };
    assert_eq!(read(r#"{"type":"custom","custom":{"name":"sql"}}"#), ["tools[].custom"]);
    assert!(read(r#"{"type":"function","function":{"name":"f"}}"#).is_empty());
}
