//! Every tool: its files from nothing, between other settings and comments, a second time, and where a file is broken.
//! `INSTA_UPDATE=always` writes the expected files in `tests/golden/setup/` again.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::{
    edit::{apply, is_set, read},
    others::Other,
    *,
};

const URL: &str = "https://gateway.example";

/// A gateway with three meta-models, as one key sees it.
fn gateway() -> Gateway {
    let card = |id: &str, owner: &str, capabilities: &[&str]| json!({ "id": id, "owned_by": owner, "capabilities": capabilities, "status": "active" });
    let window = |id: &str, context: i64, output: i64| json!({ "display_name": id, "max_input_tokens": context, "max_tokens": output });
    let models = json!({ "data": [
        card("free", "tollfree", &["tools", "json_schema", "vision", "reasoning"]),
        card("free-fast", "tollfree", &["tools"]),
        card("free-smart", "tollfree", &["tools", "json_schema", "vision", "reasoning"]),
        card("lab/large", "lab", &["tools"]),
    ]});
    let windows = json!({ "data": [
        window("free", 32_768, 8_192),
        window("free-fast", 131_072, 8_192),
        window("free-smart", 131_072, 32_768),
        window("lab/large", 1_048_576, 65_536),
    ]});
    Gateway::new(URL, &models, &windows, json!({ "models": [{ "slug": "free-smart", "context_window": 131_072 }] }))
}

fn places() -> Places {
    let env = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
    Places::new(env, System::Linux).unwrap()
}

fn target() -> Target {
    Target::new(gateway(), "sk-tf-k7f3a9c2-secret".into(), places(), None).unwrap()
}

/// What a person has in the files of the tools already.
fn others(path: &str) -> &'static str {
    match path {
        "~/.claude/settings.json" => {
            "{\n    // mine\n    \"model\": \"opus\",\n    \"env\": {\n        \"EDITOR\": \"vi\", // for commits\n        \"ANTHROPIC_MODEL\": \"another\"\n    },\n    \"permissions\": { \"allow\": [\"Bash(ls)\"] },\n}\n"
        }
        "~/.codex/config.toml" => {
            "# my settings\nmodel = \"gpt-5\" # for work\napproval_policy = \"on-request\"\n\n# the look\n[tui]\nnotifications = true\n\n[model_providers.other]\nname = \"Other\"\nbase_url = \"https://other.example/v1\"\n\n[model_providers.tollfree]\nbase_url = \"https://old.example/v1\"\nenv_key = \"OLD\"\n"
        }
        "~/.config/opencode/opencode.json" => {
            "{\n  \"$schema\": \"https://opencode.ai/config.json\",\n  // the one I like\n  \"theme\": \"system\",\n  \"provider\": {\n    \"anthropic\": { \"options\": { \"timeout\": 600000 } }\n  }\n}\n"
        }
        "~/.aider.conf.yml" => {
            "# my aider\nmodel: sonnet   # was opus\nread:\n  - CONVENTIONS.md\n\n# no commits\nauto-commits: false\n"
        }
        "~/.aider.model.metadata.json" => "{\n  \"deepseek/deepseek-chat\": { \"max_tokens\": 4096 }\n}\n",
        "~/.config/io.datasette.llm/keys.json" => {
            "{\n  \"// Note\": \"This file stores secret API credentials.\",\n  \"openai\": \"sk-mine\"\n}\n"
        }
        "~/.config/io.datasette.llm/extra-openai-models.yaml" => {
            "# local ones\n- model_id: orca\n  model_name: orca-mini   # small\n  api_base: \"http://localhost:8080\"\n- model_id: tollfree/free\n  model_name: free\n  api_base: http://old.example/v1\n"
        }
        "~/.continue/.env" => "# secrets\nMISTRAL_API_KEY=abc\nTOLLFREE_CLIENT_KEY=old\n",
        "~/.continue/config.yaml" => {
            "name: My Config\nversion: 0.0.1\nschema: v1\nmodels:\n  - name: GPT-4o   # the big one\n    provider: openai\n    model: gpt-4o\n    roles: [chat, edit]\n\n# rules\nrules:\n  - be brief\n"
        }
        "~/.config/goose/config.yaml" => {
            "GOOSE_MODE: smart_approve   # careful\nactive_provider: anthropic\nproviders:\n  anthropic:\n    enabled: true\n    model: claude\n    configured: true\nextensions:\n  developer:\n    enabled: true\n    type: builtin\n"
        }
        "~/.config/goose/custom_providers/tollfree.json" => "{\n  \"headers\": { \"X-Team\": \"a\" }\n}\n",
        "~/.qwen/settings.json" => {
            "{\n  // the look\n  \"ui\": { \"theme\": \"GitHub\" },\n  \"modelProviders\": {\n    \"openai\": [\n      { \"id\": \"gpt-4o\", \"envKey\": \"OPENAI_API_KEY\" }\n    ]\n  },\n  \"model\": { \"name\": \"qwen3-coder-plus\", \"maxSessionTurns\": 9 }\n}\n"
        }
        "~/.config/crush/crush.json" => {
            "{\n  \"$schema\": \"https://charm.land/crush.json\",\n  \"lsp\": { \"go\": { \"command\": \"gopls\" } },\n  \"providers\": { \"anthropic\": { \"api_key\": \"$ANTHROPIC_API_KEY\" } }\n}\n"
        }
        "~/.config/zed/settings.json" => {
            "// Zed settings\n//\n// For information on how to configure Zed, see the Zed documentation.\n{\n  \"theme\": \"One Dark\",\n  \"agent\": {\n    // where it opens\n    \"dock\": \"right\",\n  },\n  \"buffer_font_size\": 15,\n}\n"
        }
        _ => "",
    }
}

/// A text that is not valid in the format.
fn broken(format: Format) -> &'static str {
    match format {
        Format::Json => "{\n  \"a\": 1,\n  \"b\": ]\n}\n",
        Format::Toml => "a = 1\nb = = 2\n",
        Format::Yaml => "a: 1\nb: [1, 2\nc: 3\n",
        // Any text is valid: lines that assign nothing are left alone.
        Format::Dotenv => "",
    }
}

fn golden(tool: &str, case: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/setup");
    insta::with_settings!({ snapshot_path => &folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("{tool}.{case}"), text);
    });
}

/// The files of a tool after the change of `before`.
fn edited(tool: &Tool, before: impl Fn(&str) -> String) -> Vec<(String, String, bool)> {
    let target = target();
    let files = (tool.files)(&target).into_iter().map(|file| {
        let path = target.places.short(&file.path);
        let text = file.edited(&before(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path, text, file.is_secret)
    });
    files.collect()
}

fn shown(files: &[(String, String, bool)]) -> String {
    let show = |(path, text, is_secret): &(String, String, bool)| {
        format!("==> {path}{}\n{text}\n", if *is_secret { " (private)" } else { "" })
    };
    files.iter().map(show).collect()
}

#[test]
fn from_nothing() {
    for tool in &TOOLS {
        golden(tool.id, "empty", &shown(&edited(tool, |_| String::new())));
    }
}

#[test]
fn other_settings_their_order_and_comments_stay() {
    for tool in &TOOLS {
        golden(tool.id, "others", &shown(&edited(tool, |path| others(path).to_owned())));
    }
}

#[test]
fn a_second_time_changes_nothing() {
    for tool in &TOOLS {
        for start in [others as fn(&str) -> &'static str, |_| ""] {
            let once = edited(tool, |path| start(path).to_owned());
            let of = |path: &str| once.iter().find(|(other, ..)| other == path).unwrap().1.clone();
            assert_eq!(edited(tool, of), once, "{}", tool.id);
        }
    }
}

#[test]
fn a_broken_file_is_refused_with_its_line_and_column() {
    let target = target();
    for tool in &TOOLS {
        for file in (tool.files)(&target) {
            let Content::Changes(format, _) = &file.content else { continue };
            let text = broken(*format);
            match file.edited(text) {
                Err(EditError::Broken { line, column, .. }) => {
                    assert!(line >= 2 && column >= 1, "{}: {line}:{column}", tool.id);
                }
                other => assert_eq!((*format, other.is_ok()), (Format::Dotenv, true), "{}", tool.id),
            }
        }
    }
}

#[test]
fn a_setting_of_another_shape_is_named_and_nothing_is_changed() {
    let change = |path: &[&str]| [Change::new(path, "x")];
    for (format, text) in
        [(Format::Json, "{ \"env\": [1] }"), (Format::Toml, "env = [1]\n"), (Format::Yaml, "env: [1]\n")]
    {
        let error = apply(format, text, &change(&["env", "A"])).unwrap_err();
        assert_eq!(error, EditError::Shape("env".to_owned(), "a map"), "{format:?}");
    }
    let entry = [Change::entry(&["list"], "id", "x", value::Value::map([("id", Some("x".into()))]))];
    let error = apply(Format::Json, "{ \"list\": {} }", &entry).unwrap_err();
    assert_eq!(error.to_string(), "`list` is not a list");
}

#[test]
fn keys_are_only_in_private_files() {
    for tool in &TOOLS {
        for (path, text, is_secret) in edited(tool, |_| String::new()) {
            assert!(is_secret || !text.contains("-secret"), "{}: {path}", tool.id);
        }
    }
}

#[test]
fn a_tool_is_started_with_the_key_in_its_environment_and_in_no_file_or_argument() {
    let target = target();
    for tool in &TOOLS {
        let start = (tool.launch)(&target);
        assert!(start.env.iter().any(|(_, value)| value.contains("-secret")), "{}", tool.id);
        assert!(!start.args.iter().any(|argument| argument.contains("-secret")), "{}", tool.id);
        for file in &start.files {
            assert!(!file.edited("").unwrap().contains("-secret"), "{}", tool.id);
        }
    }
}

#[test]
fn a_file_with_windows_line_ends_or_a_list_in_one_line_is_changed_or_refused_but_never_spoiled() {
    let yaml = [
        Change::new(&["a"], "x"),
        Change::entry(&["models"], "name", "n", value::Value::map([("name", Some("n".into()))])),
    ];
    for text in [
        "b: 1\r\nmodels:\r\n  - name: m\r\n",
        "b: 1\nmodels: []\n",
        "b: 1\nmodels: [{name: m}]",
        "models:\n",
        "# only a comment",
        "b: &x {c: 1}\nd: *x\n",
    ] {
        match apply(Format::Yaml, text, &yaml) {
            Ok(edited) => {
                let values = read(Format::Yaml, &edited).unwrap();
                assert!(yaml.iter().all(|change| is_set(&values, change)), "{edited}");
            }
            Err(error) => assert!(matches!(error, EditError::Unsafe(_)), "{text:?}: {error}"),
        }
    }
}
/// The dashboard shows this table, as a file that is written by `INSTA_UPDATE=always`.
#[test]
fn the_dashboard_has_this_table() {
    let tool = |tool: &Tool| {
        json!({
            "id": tool.id, "name": tool.name, "tried": tool.is_tried,
            "program": format!("tollfree setup {} --url {{root}}", tool.id),
            "shell": format!("curl -fsSL {{root}}/setup/{}.sh | sh", tool.id),
            "powershell": format!("Invoke-RestMethod {{root}}/setup/{}.ps1 | Invoke-Expression", tool.id),
        })
    };
    let other =
        |other: &Other| json!({ "id": other.id, "name": other.name, "text": other.text, "tried": other.is_tried });
    let table = json!({ "tools": TOOLS.iter().map(tool).collect::<Vec<_>>(), "others": OTHERS.iter().map(other).collect::<Vec<_>>() });
    let text = format!("{table:#}\n");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard/src/components/tools.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "INSTA_UPDATE=always writes {} again", file.display());
}

/// Every tool of the table is in the documentation, with its status.
#[test]
fn the_documentation_lists_every_tool() {
    let page =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap();
    let (agents, clients) = (page("agents.md"), page("clients.md"));
    let status = |is_tried: bool| if is_tried { "tried" } else { "not tried" };
    for tool in &TOOLS {
        let line = agents.lines().find(|line| line.starts_with(&format!("| `{}` |", tool.id)));
        let line = line.unwrap_or_else(|| panic!("{} is not in docs/agents.md", tool.id));
        assert!(line.ends_with(&format!("| {} |", status(tool.is_tried))), "{line}: it is {}", status(tool.is_tried));
    }
    for other in &OTHERS {
        let status = status(other.is_tried);
        let line = clients.lines().find(|line| line.starts_with(&format!("| {} |", other.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in docs/clients.md", other.name));
        assert!(line.ends_with(&format!("| {status} |")), "{line}: it is {status}");
    }
}
