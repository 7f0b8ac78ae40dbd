//! The settings in force, with secrets removed, as `GET /admin/v1/config` returns them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{SettingSource, Settings};

#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Config)]
pub(crate) struct ConfigView {
    settings: Vec<Setting>,
    /// The URL of a request's trace, with `{trace_id}` as a placeholder
    #[schema(required)]
    trace_link: Option<String>,
    /// `server.public_url`: the address under which clients reach the gateway
    #[schema(required)]
    public_url: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    /// `server.port`
    name: String,
    /// `set` for a secret
    value: String,
    /// `default`, `tollfree.toml:12`, `env PORT`
    source: String,
}

impl ConfigView {
    pub(crate) fn new(settings: &Settings) -> Self {
        let setting = |setting: &SettingSource| Setting {
            name: setting.name.clone(),
            value: without_credentials(&setting.value),
            source: setting.source.clone(),
        };
        let trace_link = settings.dashboard.trace_link.clone();
        Self {
            settings: settings.sources.iter().map(setting).collect(),
            trace_link,
            public_url: settings.server.public_url.clone(),
        }
    }
}

/// Removes user and password from a URL: `https://user:password@host`.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn the_credentials_of_a_url_are_removed() {
        for (value, expected) in [
            ("3000", "3000"),
            ("\"http://gpu-box:8000/v1\"", "\"http://gpu-box:8000/v1\""),
            ("\"http://me:hunter2@gpu-box:8000/v1\"", "\"http://…@gpu-box:8000/v1\""),
            ("http://box/a@b", "http://box/a@b"),
        ] {
            assert_eq!(without_credentials(value), expected);
        }
    }
}
