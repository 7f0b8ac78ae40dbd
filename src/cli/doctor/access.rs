//! The key, and the models that it may use.

use serde_json::Value;

use super::report::Finding;
use crate::{
    suggest::closest,
    upstream::gateway_client::{GatewayClient, Reply, Unreachable},
};

/// The list of models, if the key is valid.
pub(super) async fn check_key(client: &GatewayClient, has_key: bool) -> Result<(Finding, Option<Value>), Unreachable> {
    let reply = client.get("/v1/models", None).await?;
    let list = || reply.json().filter(|json| json["data"].is_array());
    if let (200, Some(list)) = (reply.status, list()) {
        let what = if has_key { "valid" } else { "none, and the gateway requires none" };
        return Ok((Finding::good("key", what), Some(list)));
    }
    Ok((refused(&reply, has_key), None))
}

fn refused(reply: &Reply, has_key: bool) -> Finding {
    let message = reply.error().map_or_else(|| format!("the gateway answers {}", reply.status), |(_, message)| message);
    let mend = match reply.status {
        401 if !has_key => "set TOLLFREE_CLIENT_KEY to the key that you were given",
        401 => "use the key that you were given (it begins with sk-tf-), or ask the administrator for a new one",
        429 => "too many wrong keys came from this address: wait, then try with the right one",
        _ => "the gateway's operator finds the reason in its log, by the request id",
    };
    Finding::bad("key", message, mend)
}

/// How many there are, and whether the key may use the model that is wanted.
pub(super) async fn check_models(
    client: &GatewayClient,
    list: &Value,
    wanted: Option<&str>,
) -> Result<Finding, Unreachable> {
    let listed = || list["data"].as_array().into_iter().flatten();
    // A meta-model is listed even while nothing is behind it.
    let can_serve = |model: &&Value| model["status"] != "off";
    let names: Vec<&str> = listed().filter(can_serve).filter_map(|model| model["id"].as_str()).collect();
    if names.is_empty() && listed().next().is_some() {
        return Ok(Finding::bad(
            "models",
            "the gateway has no model: no provider is configured, or all are disabled",
            "the administrator must add a provider key, such as GROQ_API_KEY, or a server",
        ));
    }
    if names.is_empty() {
        return Ok(Finding::bad(
            "models",
            "the key may use no model",
            "the administrator must allow models, or add provider keys",
        ));
    }
    let count = format!("{} may be used", names.len());
    let Some(wanted) = wanted.map(|name| name.strip_prefix("anthropic/").unwrap_or(name)) else {
        return Ok(Finding::good("models", count));
    };
    if names.contains(&wanted) {
        return Ok(Finding::good("models", format!("{count}, among them `{wanted}`")));
    }
    let segments =
        wanted.split('/').map(|segment| url::form_urlencoded::byte_serialize(segment.as_bytes()).collect::<String>());
    let reply = client.get(&format!("/v1/models/{}", segments.collect::<Vec<_>>().join("/")), None).await?;
    let near = closest(wanted, names.iter().copied());
    let instead = near.first().copied().unwrap_or(names[0]);
    Ok(match reply.error() {
        None if reply.status == 200 => Finding::good("models", format!("{count}, among them `{wanted}`")),
        Some((code, message)) if code == "model_not_allowed" => Finding::bad(
            "models",
            message,
            format!("use another, such as `{instead}`, or ask the administrator to allow it"),
        ),
        Some((_, message)) => Finding::bad("models", message, format!("use another, such as `{instead}`")),
        None => Finding::bad(
            "models",
            format!("the gateway answers {} for `{wanted}`", reply.status),
            format!("use another, such as `{instead}`"),
        ),
    })
}
