//! `tollfree keys`: the keys of a team's members, in the same store as the server.

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
use super::{load, runtime, say};
use crate::{
    domain::{ClientSettings, KeyDigest, key},
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
  tollfree keys create ann --print-hash     for the file of hashes in `clients.file`; stored nowhere

The keys are kept where `tollfree serve` keeps its state: in REDIS_URL, or in TOLLFREE_DATA_DIR. Without Redis a
gateway that is running has them to itself: then it is asked at HOST:PORT (or --url), with its
TOLLFREE_ADMIN_KEY. A change binds every replica's next request.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Ask the gateway at this address, with `TOLLFREE_ADMIN_KEY`, instead of the store itself
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key for somebody; it is printed once
    Create(CreateArgs),
    /// All of them: id, name, state, limits, last use
    List {
        /// Only those whose id, name or note holds this
        #[arg(long)]
        search: Option<String>,
    },
    /// Everything about one of them
    Show {
        #[arg(value_name = "ID|NAME")]
        who: String,
    },
    /// Change what a key may do
    Set {
        #[arg(value_name = "ID|NAME")]
        who: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        args: ClientArgs,
        /// Every model again
        #[arg(long, conflicts_with = "models")]
        all_models: bool,
        /// Switch a disabled key on again
        #[arg(long, conflicts_with = "disabled")]
        enabled: bool,
    },
    /// Make a new key for the same member; it is printed once
    Rotate {
        #[arg(value_name = "ID|NAME")]
        who: String,
        /// How long the old one works, too: 1h, 2d, at most a week
        #[arg(long, value_name = "SPAN", value_parser = args::parse_span_s)]
        overlap: Option<i64>,
    },
    /// End a key for good; it stays on the list
    Revoke {
        #[arg(value_name = "ID|NAME")]
        who: String,
    },
    /// Take a member off the list; its key ends with it
    Delete {
        #[arg(value_name = "ID|NAME")]
        who: String,
    },
    /// Print the line of a key that you have for the file of hashes; the key is read from the standard input
    Hash {
        /// Whose it is
        #[arg(long)]
        name: Option<String>,
    },
}

pub fn run(arguments: Box<Arguments>) -> anyhow::Result<()> {
    let Arguments { command, url, json } = *arguments;
    match command {
        Command::Hash { name } => return hash(name.as_deref(), json),
        Command::Create(new) if new.print_hash => return print_hash(&new, json),
        _ => {}
    }
    let settings = load()?.settings;
    runtime()?.block_on(async {
        let admin = ClientAdmin::open(&settings, url.as_deref()).await?;
        let done = serve(&admin, command, json).await;
        admin.close().await?;
        done
    })
}

async fn serve(admin: &ClientAdmin, command: Command, json: bool) -> anyhow::Result<()> {
    let tell = |client: &Value, words: String| say(if json { client.to_string() } else { words }.trim_end());
    match command {
        Command::Create(new) => {
            let made = admin.create(new.fields()).await?;
            tell(&made, render::new_key(&made, admin.url(), "Made a key for"));
        }
        Command::List { search } => {
            let found = admin.list(search.as_deref()).await?;
            let words = render::table(&found, Timestamp::now());
            tell(&Value::from(found), words);
        }
        Command::Show { who } => {
            let client = find(admin, &who).await?;
            tell(&client, render::details(&client, Timestamp::now()));
        }
        Command::Set { who, name, args, all_models, enabled } => {
            let mut fields = args.fields();
            fields.extend(name.map(|name| ("name".to_owned(), Value::from(name))));
            fields.extend(all_models.then(|| ("models".to_owned(), json!([]))));
            fields.extend(enabled.then(|| ("disabled".to_owned(), Value::from(false))));
            ensure!(!fields.is_empty(), "say what is to be changed: see `tollfree keys set --help`");
            let changed = admin.change(&id(admin, &who).await?, fields).await?;
            tell(&changed, render::details(&changed, Timestamp::now()));
        }
        Command::Rotate { who, overlap } => {
            let made = admin.rotate(&id(admin, &who).await?, overlap.unwrap_or(0)).await?;
            tell(&made, render::new_key(&made, admin.url(), "Made a new key for"));
        }
        Command::Revoke { who } => {
            let revoked = admin.revoke(&id(admin, &who).await?).await?;
            tell(
                &revoked,
                format!("Revoked the key of {}: no request of it is served any more.", render::client_name(&revoked)),
            );
        }
        Command::Delete { who } => {
            let client = find(admin, &who).await?;
            let gone = admin.delete(client["id"].as_str().unwrap_or_default()).await?;
            tell(&gone, format!("Deleted {}: its key opens nothing any more.", render::client_name(&client)));
        }
        Command::Hash { .. } => {}
    }
    Ok(())
}

async fn id(admin: &ClientAdmin, who: &str) -> anyhow::Result<String> {
    Ok(find(admin, who).await?["id"].as_str().unwrap_or_default().to_owned())
}

/// Whom a person means: an id, or a name that only one of them has.
async fn find(admin: &ClientAdmin, who: &str) -> anyhow::Result<Value> {
    let all = admin.list(None).await?;
    if let Some(client) = all.iter().find(|client| client["id"] == who) {
        return Ok(client.clone());
    }
    let named: Vec<&Value> = all.iter().filter(|client| client["name"] == who).collect();
    match named[..] {
        [client] => Ok(client.clone()),
        [] => {
            let all = all.iter().flat_map(|c| [&c["id"], &c["name"]]).filter_map(Value::as_str);
            match closest(who, all).first() {
                Some(near) => bail!("there is no client `{who}`: did you mean `{near}`?"),
                None => bail!("there is no client `{who}`: see `tollfree keys list`"),
            }
        }
        _ => {
            let ids: Vec<&str> = named.iter().filter_map(|client| client["id"].as_str()).collect();
            bail!("{} clients are called `{who}`: name one of them by its id: {}", ids.len(), ids.join(", "))
        }
    }
}

/// A key that is kept nowhere, and its line for the file of hashes.
fn print_hash(new: &CreateArgs, json: bool) -> anyhow::Result<()> {
    let fields = new.fields();
    let settings = ClientSettings::new(&fields, Timestamp::now())?;
    let id = key::fresh_id()?;
    let key = key::fresh_key(&id)?;
    let digest = KeyDigest::of(&key).hex();
    say(&if json {
        json!({ "id": id, "key": key, "sha256": digest }).to_string()
    } else {
        let block = render::hash_file_entry(&settings.name, &id, &digest, &fields);
        format!(
            "The key of `{}`. It is shown once and kept nowhere:\n\n  {key}\n\nFor the file of hashes:\n\n{block}",
            settings.name
        )
    });
    Ok(())
}

fn hash(name: Option<&str>, json: bool) -> anyhow::Result<()> {
    if stdin().is_terminal() {
        super::complain("Type or paste the key, then Ctrl-D:");
    }
    let mut text = String::new();
    stdin().take(4_096).read_to_string(&mut text).context("the key cannot be read from the standard input")?;
    let key = text.trim();
    let id = key::id_of(key).context("that is no client's key: expected sk-tf-<id>-<secret>")?;
    let secret = key.rsplit('-').next().unwrap_or_default();
    ensure!(
        secret.len() >= key::MIN_SECRET_CHARS,
        "the secret is too short to be safe: at least {} characters",
        key::MIN_SECRET_CHARS
    );
    let digest = KeyDigest::of(key).hex();
    let block = || render::hash_file_entry(name.unwrap_or(id), id, &digest, &Map::new());
    say(&if json { json!({ "id": id, "sha256": digest }).to_string() } else { block() });
    Ok(())
}
