//! Calls of tools and their results, which come in pairs: a provider that gets one without the other refuses the request.

use super::mistake::Mistake;

/// The calls of the assistant's latest turn.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Ids without a result so far, with the path of their blocks.
    open: Vec<(String, String)>,
    /// Ids that have one.
    answered: Vec<String>,
    /// The latest message is the assistant's. Further ones of it belong to the same turn.
    is_assistants_turn: bool,
}

impl Pairs {
    /// A message of the assistant begins.
    pub(super) fn assistant(&mut self) -> Result<(), Mistake> {
        if !std::mem::replace(&mut self.is_assistants_turn, true) {
            self.end()?;
            self.answered.clear();
        }
        Ok(())
    }

    /// A message of the user begins.
    pub(super) fn user(&mut self) {
        self.is_assistants_turn = false;
    }

    pub(super) fn called(&mut self, id: String, path: String) {
        self.open.push((id, path));
    }

    pub(super) fn answered(&mut self, id: &str) -> Result<(), Mistake> {
        let path = "tool_use_id";
        if let Some(at) = self.open.iter().position(|(open, _)| open == id) {
            let (id, _) = self.open.remove(at);
            self.answered.push(id);
            return Ok(());
        }
        if self.answered.iter().any(|known| known == id) {
            let why =
                format!("each `tool_use` must have a single result. Found multiple `tool_result` blocks with id: {id}");
            return Err(Mistake::unsupported(path, why));
        }
        let why = format!(
            "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding \
             `tool_use` block in the previous message."
        );
        Err(Mistake::unsupported(path, why))
    }

    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The turn, or the conversation, ends.
    pub(super) fn end(&mut self) -> Result<(), Mistake> {
        let Some((_, path)) = self.open.first() else { return Ok(()) };
        let ids: Vec<&str> = self.open.iter().map(|(id, _)| id.as_str()).collect();
        let why = format!(
            "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a \
             corresponding `tool_result` block in the next message.",
            ids.join(", ")
        );
        Err(Mistake::at(path.clone(), why))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use crate::protocol::messages::{decode, decode_count};

    fn call(id: &str) -> Value {
        json!({ "type": "tool_use", "id": id, "name": "f", "input": {} })
    }

    fn result(id: &str) -> Value {
        json!({ "type": "tool_result", "tool_use_id": id, "content": id })
    }

    fn said(role: &str, content: &Value) -> Value {
        json!({ "role": role, "content": content })
    }

    fn request(messages: &[Value]) -> Bytes {
        let first = json!([{ "role": "user", "content": "x" }]);
        let all: Vec<&Value> = first.as_array().unwrap().iter().chain(messages).collect();
        json!({ "model": "free", "max_tokens": 9, "messages": all }).to_string().into()
    }

    #[test]
    fn a_call_without_a_result_and_a_result_without_a_call_are_refused() {
        let (assistant, user) = (|blocks: Value| said("assistant", &blocks), |blocks: Value| said("user", &blocks));
        for (messages, path, words) in [
            (
                vec![assistant(json!([call("a"), call("b")])), user(json!([result("a")]))],
                "messages[1].content[1]",
                "after: b.",
            ),
            (vec![assistant(json!([call("a")])), user(json!("never mind"))], "messages[1].content[0]", "after: a."),
            (vec![assistant(json!([call("a")]))], "messages[1].content[0]", "after: a."),
            (
                vec![
                    assistant(json!([call("a")])),
                    user(json!("wait")),
                    assistant(json!("yes")),
                    user(json!([result("a")])),
                ],
                "messages[1].content[0]",
                "after: a.",
            ),
            (vec![user(json!([result("a")]))], "messages[1].content[0].tool_use_id", "blocks: a."),
            (
                vec![assistant(json!([call("a")])), user(json!([result("a"), result("a")]))],
                "messages[2].content[1].tool_use_id",
                "id: a",
            ),
        ] {
            let error = decode(request(&messages)).err().unwrap();
            assert_eq!(error.param.as_deref(), Some(path), "{}", error.message);
            assert!(error.message.contains(words), "{}", error.message);
            // What a client counts may be a part of a conversation.
            assert!(decode_count(request(&messages)).is_ok());
        }
    }

    #[test]
    fn messages_of_the_assistant_in_a_row_are_one_turn_with_all_its_calls() {
        let messages = [
            said("assistant", &json!([{ "type": "text", "text": "First \"a\"." }, call("a")])),
            said("assistant", &json!("Then b.")),
            said("assistant", &json!([call("b")])),
            said("user", &json!([result("a"), result("b")])),
            said("assistant", &json!("Done.")),
            said("assistant", &json!([{ "type": "text", "text": "Really." }])),
        ];
        let body: Value = serde_json::from_slice(&decode(request(&messages)).unwrap().request.body).unwrap();
        let chat_call =
            |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
        let wanted = json!([
            { "role": "user", "content": "x" },
            { "role": "assistant", "content": "First \"a\".\n\nThen b.", "tool_calls": [chat_call("a"), chat_call("b")] },
            { "role": "tool", "tool_call_id": "a", "content": "a" },
            { "role": "tool", "tool_call_id": "b", "content": "b" },
            { "role": "assistant", "content": "Done.\n\nReally." },
        ]);
        assert_eq!(body["messages"], wanted);
    }

    #[test]
    fn messages_between_a_call_and_its_result_follow_behind_it() {
        let messages = [
            said("assistant", &json!([call("a"), call("b")])),
            said("user", &json!([result("b"), { "type": "text", "text": "look" }])),
            said("user", &json!([result("a")])),
            said("user", &json!("go on")),
        ];
        let body: Value = serde_json::from_slice(&decode(request(&messages)).unwrap().request.body).unwrap();
        let seen: Vec<(&str, &str)> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap_or("")))
            .collect();
        let wanted =
            [("user", "x"), ("assistant", ""), ("tool", "b"), ("tool", "a"), ("user", "look"), ("user", "go on")];
        assert_eq!(seen, wanted);
    }
}
