//! `tollfree keys`: client keys, in the same store as the server's.

mod args;
mod client_admin;
mod render;

use std::io::{IsTerminal, Read, stdin};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{
    args::{ClientArgs, CreateArgs},
    client_admin::ClientAdmin,
};
use super::{UsageError, load, message, print, print_error, runtime};
use crate::{
    domain::{ClientSettings, KeyDigest, key, model_pattern},
    suggest::closest,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree keys create ann --rpm 10 --model free --model 'groq/*' --expires 90d
  tollfree keys list
  tollfree keys set ann --rpm none --tpd 200000 --weight 2
  tollfree keys rotate ann --overlap 1h     both keys work for an hour
  tollfree keys revoke ann
  tollfree keys create ann --print-hash     an entry for the file of `clients.file`; stores nothing

Keys are stored where `tollfree serve` stores its state: in REDIS_URL, or in TOLLFREE_DATA_DIR.
Without Redis, a running gateway is the only one that can change its keys: the command then calls
it at HOST:PORT (or --url) with its TOLLFREE_ADMIN_KEY. A change takes effect with the next request
at every replica.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Call the gateway at this address, with `TOLLFREE_ADMIN_KEY`, instead of opening the store
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Create a client and print its key, once
    Create(CreateArgs),
    /// List the clients: id, name, state, limits, last use
    List {
        /// Only those whose id, name or note contains this
        #[arg(long)]
        search: Option<String>,
    },
    /// Show one client
    Show {
        #[arg(value_name = "ID|NAME")]
        client: String,
    },
    /// Change what a key may do
    Set {
        #[arg(value_name = "ID|NAME")]
        client: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        args: ClientArgs,
        /// Allow all models again
        #[arg(long, conflicts_with = "models")]
        all_models: bool,
        /// Enable a disabled key
        #[arg(long, conflicts_with = "disabled")]
        enabled: bool,
    },
    /// Replace the key of a client and print the new one, once
    Rotate {
        #[arg(value_name = "ID|NAME")]
        client: String,
        /// How long the old key also works: 1h, 2d, at most a week
        #[arg(long, value_name = "SPAN", value_parser = args::parse_span_s)]
        overlap: Option<i64>,
    },
    /// Revoke a key for good; the client stays in the list
    Revoke {
        #[arg(value_name = "ID|NAME")]
        client: String,
    },
    /// Delete a client and its key
    Delete {
        #[arg(value_name = "ID|NAME")]
        client: String,
    },
    /// Read an existing key from the standard input and print its entry for the file of hashes
    Hash {
        /// Name of the client
        #[arg(long)]
        name: Option<String>,
    },
}

pub(super) fn run(arguments: Box<Arguments>) -> anyhow::Result<()> {
    let Arguments { command, url, json } = *arguments;
    let result = match command {
        Command::Hash { name } => hash(name.as_deref(), json),
        Command::Create(create) if create.print_hash => print_hash(&create, json),
        command => load().and_then(|loaded| {
            runtime()?.block_on(async {
                let admin = ClientAdmin::open(loaded.settings, url.as_deref()).await?;
                let result = execute(&admin, command, json).await;
                admin.close().await?;
                result
            })
        }),
    };
    result.map_err(with_option_names)
}

/// Messages of the admin API name its fields. Where they do, the mistake is in the option that stands for the field.
fn with_option_names(error: anyhow::Error) -> anyhow::Error {
    let text = message(&error);
    let renamed = args::OPTIONS.iter().find_map(|(field, option)| {
        let rest = text.strip_prefix(&format!("`{field}"))?;
        let (index, rest) = rest.split_once('`')?;
        (index.is_empty() || index.starts_with('[')).then(|| format!("{option}{rest}"))
    });
    renamed.map_or(error, |text| UsageError(text).into())
}

async fn execute(admin: &ClientAdmin, command: Command, json: bool) -> anyhow::Result<()> {
    let show = |client: &Value, text: String| print(&if json { client.to_string() } else { text });
    match command {
        Command::Create(create) => {
            if !create.force {
                check_name_is_free(admin, &create.name).await?;
            }
            let created = admin.create(create.fields()).await?;
            show(&created, render::new_key(&created, admin.url(), "Created a key for"))?;
            warn_of_unmatched(admin, create.client.models.as_deref()).await;
            Ok(())
        }
        Command::List { search } => {
            let found = admin.list(search.as_deref()).await?;
            let text = render::table(&found, Timestamp::now());
            show(&Value::from(found), text)
        }
        Command::Show { client } => {
            let client = find(admin, &client).await?;
            show(&client, render::details(&client, Timestamp::now()))
        }
        Command::Set { client, name, args, all_models, enabled } => {
            let mut fields = args.fields();
            fields.extend(name.map(|name| ("name".to_owned(), Value::from(name))));
            fields.extend(all_models.then(|| ("models".to_owned(), json!([]))));
            fields.extend(enabled.then(|| ("disabled".to_owned(), Value::from(false))));
            if fields.is_empty() {
                return Err(UsageError("nothing to change: see `tollfree keys set --help`".to_owned()).into());
            }
            let changed = admin.update(&id(admin, &client).await?, fields).await?;
            show(&changed, render::details(&changed, Timestamp::now()))?;
            warn_of_unmatched(admin, args.models.as_deref()).await;
            Ok(())
        }
        Command::Rotate { client, overlap } => {
            let rotated = admin.rotate(&id(admin, &client).await?, overlap.unwrap_or(0)).await?;
            show(&rotated, render::new_key(&rotated, admin.url(), "Created a new key for"))
        }
        Command::Revoke { client } => {
            let revoked = admin.revoke(&id(admin, &client).await?).await?;
            show(&revoked, format!("Revoked the key of {}.", render::client_name(&revoked)))
        }
        Command::Delete { client } => {
            let client = find(admin, &client).await?;
            let deleted = admin.delete(client["id"].as_str().unwrap_or_default()).await?;
            show(&deleted, format!("Deleted {} and its key.", render::client_name(&client)))
        }
        Command::Hash { .. } => Ok(()),
    }
}

async fn check_name_is_free(admin: &ClientAdmin, name: &str) -> anyhow::Result<()> {
    let same = admin.list(Some(name)).await?.into_iter().find(|client| client["name"] == name);
    if let Some(client) = same {
        bail!(
            "a client {} exists already: `tollfree keys rotate` replaces its key, and --force creates a second client",
            render::client_name(&client)
        );
    }
    Ok(())
}

/// A pattern without a match is allowed, because models come and go, but it is often a misspelling.
async fn warn_of_unmatched(admin: &ClientAdmin, patterns: Option<&[String]>) {
    let Some(patterns) = patterns else { return };
    let Ok(names) = admin.model_names().await else { return };
    for pattern in patterns {
        let bare = |name: &str| name.split_once('/').is_some_and(|(_, id)| model_pattern::matches(pattern, id));
        if !names.iter().any(|name| model_pattern::matches(pattern, name) || bare(name)) {
            let near = closest(pattern, names.iter().map(String::as_str));
            let hint = near.first().map_or_else(String::new, |name| format!(" Did you mean `{name}`?"));
            print_error(&format!("tollfree: warning: --model `{pattern}` matches no model that is served now.{hint}"));
        }
    }
}

async fn id(admin: &ClientAdmin, client: &str) -> anyhow::Result<String> {
    Ok(find(admin, client).await?["id"].as_str().unwrap_or_default().to_owned())
}

/// The client with this id, or the only one with this name.
async fn find(admin: &ClientAdmin, wanted: &str) -> anyhow::Result<Value> {
    let all = admin.list(None).await?;
    if let Some(client) = all.iter().find(|client| client["id"] == wanted) {
        return Ok(client.clone());
    }
    let named: Vec<&Value> = all.iter().filter(|client| client["name"] == wanted).collect();
    match named[..] {
        [client] => Ok(client.clone()),
        [] => {
            let all = all.iter().flat_map(|c| [&c["id"], &c["name"]]).filter_map(Value::as_str);
            match closest(wanted, all).first() {
                Some(near) => bail!("there is no client `{wanted}`: did you mean `{near}`?"),
                None => bail!("there is no client `{wanted}`: see `tollfree keys list`"),
            }
        }
        _ => {
            let ids: Vec<&str> = named.iter().filter_map(|client| client["id"].as_str()).collect();
            bail!("{} clients are called `{wanted}`: use one of the ids: {}", ids.len(), ids.join(", "))
        }
    }
}

/// Prints a key that is not stored, and its entry for the file of hashes.
fn print_hash(create: &CreateArgs, json: bool) -> anyhow::Result<()> {
    let fields = create.fields();
    let name = ClientSettings::new(&fields, Timestamp::now())?.name;
    let id = key::fresh_id()?;
    let key = key::fresh_key(&id)?;
    let digest = KeyDigest::of(&key).hex();
    if json {
        return print(&json!({ "id": id, "key": key, "sha256": digest }).to_string());
    }
    let entry = render::hash_file_entry(&name, &id, &digest, &fields);
    print(&format!(
        "The key of `{name}`. It is shown once and not stored:\n\n  {key}\n\nFor the file of hashes:\n\n{entry}"
    ))
}

fn hash(name: Option<&str>, json: bool) -> anyhow::Result<()> {
    if stdin().is_terminal() {
        print_error("Type or paste the key, then press Ctrl-D:");
    }
    let mut text = String::new();
    stdin().take(4_096).read_to_string(&mut text).context("the key cannot be read from the standard input")?;
    let key = text.trim();
    let id = key::id_of(key).context("this is not a client key: expected sk-tf-<id>-<secret>")?;
    let secret = key.rsplit('-').next().unwrap_or_default();
    ensure!(
        secret.len() >= key::MIN_SECRET_CHARS,
        "the secret is too short to be safe: it needs at least {} characters",
        key::MIN_SECRET_CHARS
    );
    let digest = KeyDigest::of(key).hex();
    if json {
        return print(&json!({ "id": id, "sha256": digest }).to_string());
    }
    print(&render::hash_file_entry(name.unwrap_or(id), id, &digest, &Map::new()))
}
