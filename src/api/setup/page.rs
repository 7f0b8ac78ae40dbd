//! The page `/setup`, without scripts.

use std::fmt::Write as _;

use actix_web::http::header::HeaderValue;
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use crate::setup::{OTHERS, TOOLS, filled};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    code,pre{background:#8882;padding:.1em .3em}pre{padding:.8em;overflow-x:auto}h2{margin-top:2.5rem}.soft{opacity:.7}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

/// What is said of tools that the tests do not run.
const NOT_TRIED: &str = "Not tried for real: these settings follow the documentation of the tool. ";

/// Allows its own style and nothing else.
pub(super) fn policy() -> HeaderValue {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is ASCII")
}

pub(super) fn html(url: &str) -> String {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Set up a tool</title><style>{STYLE}</style><h1>Set up a tool</h1>\
         <p>Each line configures a tool for <code>{url}</code>. It reads your client key from the terminal, keeps your other \
         settings, and copies each file of yours before it changes it.<p class=soft>With the program <code>tollfree</code> on this machine, \
         files are merged here, <code>--undo</code> restores them, and <code>tollfree doctor</code> finds out why a tool does not \
         work. The scripts need only a shell and curl, or PowerShell.",
        url = escaped(url)
    );
    for tool in &TOOLS {
        let _ = write!(
            html,
            "<h2 id={id}>{name}</h2><pre>tollfree setup {id} --url {url}</pre><pre>curl -fsSL {url}/setup/{id}.sh | sh</pre>\
             <pre>Invoke-RestMethod {url}/setup/{id}.ps1 | Invoke-Expression</pre>\
             <p class=soft>{tried}<a href=\"{documentation}\" rel=noreferrer>Its own documentation</a>",
            id = tool.id,
            name = escaped(tool.name),
            url = escaped(url),
            tried = if tool.is_tried { "" } else { NOT_TRIED },
            documentation = tool.documentation
        );
    }
    html.push_str("<h1>Tools that are configured by hand</h1>");
    for other in &OTHERS {
        let tried = if other.is_tried { String::new() } else { format!("<p class=soft>{NOT_TRIED}") };
        let text = escaped(&filled(other.text, url, "YOUR_KEY"));
        let _ = write!(html, "<h2 id={}>{}</h2><pre>{text}</pre>{tried}", other.id, escaped(other.name));
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
