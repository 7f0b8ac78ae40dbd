//! Claude Code: `env` and `apiKeyHelper` of `~/.claude/settings.json`. Documented: the file, both settings, and the variables
//! `ANTHROPIC_*`. Observed: `CLAUDE_CODE_MAX_CONTEXT_TOKENS` works at once only for names that do not begin with `claude-`.

use super::{Start, Tool, key_file};
use crate::setup::{Change, Format, Offer, ToolFile, gateway::ANTHROPIC_PREFIX, target::Target};

pub(super) const TOOL: Tool = Tool {
    id: "claude-code",
    name: "Claude Code",
    program: "claude",
    documentation: "https://code.claude.com/docs/en/settings",
    is_tried: true,
    files,
    launch,
    notes,
    overriding: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
};

/// Its own instructions and tools take 20,000 to 30,000 tokens.
const USEFUL_CONTEXT_TOKENS: i64 = 48_000;

fn files(target: &Target) -> Vec<ToolFile> {
    let settings = target.places.folder("CLAUDE_CONFIG_DIR", ".claude").join("settings.json");
    let env = variables(target).into_iter().map(|(name, value)| Change::new(&["env", name], value));
    let helper = Change::new(&["apiKeyHelper"], target.print_key());
    vec![key_file(target), ToolFile::changes(settings, Format::Json, env.chain([helper]).collect())]
}

fn launch(target: &Target) -> Start {
    let mut env = variables(target);
    env.push(("ANTHROPIC_AUTH_TOKEN", target.key().to_owned()));
    Start { env, ..Start::default() }
}

fn variables(target: &Target) -> Vec<(&'static str, String)> {
    let main = listed_name(&target.model);
    let mut variables = vec![
        ("ANTHROPIC_BASE_URL", target.gateway.url.clone()),
        ("ANTHROPIC_MODEL", main.clone()),
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", main.clone()),
        ("ANTHROPIC_DEFAULT_SONNET_MODEL", main),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", listed_name(&target.small)),
    ];
    let sizes = [
        ("CLAUDE_CODE_MAX_CONTEXT_TOKENS", target.model.context_tokens),
        ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", target.model.output_tokens_max),
    ];
    variables.extend(sizes.into_iter().filter_map(|(name, tokens)| Some((name, tokens?.to_string()))));
    variables
}

/// Claude Code keeps only names with `claude` or `anthropic` in them.
fn listed_name(offer: &Offer) -> String {
    if offer.is_meta { format!("{ANTHROPIC_PREFIX}{}", offer.name) } else { offer.name.clone() }
}

fn notes(target: &Target) -> Vec<String> {
    let small = target.model.context_tokens.filter(|tokens| *tokens < USEFUL_CONTEXT_TOKENS);
    let note = |tokens| {
        format!(
            "`{}` has a context of {tokens} tokens, and Claude Code is of little use below {USEFUL_CONTEXT_TOKENS}: choose a \
             larger model with --model",
            target.model.name
        )
    };
    small.map(note).into_iter().collect()
}
