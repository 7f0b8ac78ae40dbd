//! `tollfree providers`: provider keys that are added at run time, in the same store as the server's.

mod key_admin;
mod render;

use std::io::{BufRead, IsTerminal, stdin};

use anyhow::{Context, bail};
use clap::Subcommand;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use self::key_admin::KeyAdmin;
use super::{UsageError, load, print, print_error, progress::Progress, runtime};
use crate::suggest::closest;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree providers keys add groq --account acme    asks for the key, or reads it from the standard input
  tollfree providers keys list
  tollfree providers keys disable groq-1a2b3c4d
  tollfree providers keys remove groq-1a2b3c4d
  tollfree providers refresh

Keys are stored where `tollfree serve` stores its state, encrypted under TOLLFREE_MASTER_KEY, or
without Redis under the master key in the data directory. Without Redis a running gateway is called
at HOST:PORT (or --url) with its TOLLFREE_ADMIN_KEY. Every replica has a change within a second; a
key that is disabled or removed is out at once. Keys of the environment are changed there.")]
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
    /// Provider keys
    #[command(subcommand)]
    Keys(KeyCommand),
    /// Let a running gateway look at the providers' lists of models now, for all replicas
    Refresh {
        /// Only this provider
        provider: Option<String>,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// List all keys, those of the environment first
    List,
    /// Add a key, which is read from the standard input and tried first
    Add {
        /// `groq`, or the name of a `[providers.NAME]` table
        provider: String,
        /// Account whose limits the key shares; without one it counts alone
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// A note, such as who made the key
        #[arg(long, default_value = "")]
        label: String,
        /// Store the key without calling the provider
        #[arg(long)]
        no_try: bool,
    },
    /// Try a key with its provider
    Test { id: String },
    /// Change the account or the label of a key
    Set {
        id: String,
        /// Account whose limits the key shares; `none`: one of its own
        #[arg(long, value_name = "NAME|none")]
        account: Option<String>,
        #[arg(long)]
        label: Option<String>,
    },
    /// Stop using a key until it is enabled again
    Disable { id: String },
    /// Use a disabled key again
    Enable { id: String },
    /// Delete a key
    Remove { id: String },
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { command, url, json } = arguments;
    let loaded = load()?;
    runtime()?.block_on(async {
        match command {
            Command::Keys(command) => {
                let admin = KeyAdmin::open(loaded.settings, url.as_deref()).await?;
                let result = execute(&admin, command, json).await;
                admin.close().await?;
                result
            }
            Command::Refresh { provider } => {
                let progress = Progress::start("Reading the lists of models:".to_owned());
                let providers = key_admin::refresh(&loaded.settings, url.as_deref(), provider.as_deref()).await?;
                drop(progress);
                print(&if json { Value::from(providers).to_string() } else { render::lists(&providers) })
            }
        }
    })
}

async fn execute(admin: &KeyAdmin, command: KeyCommand, json: bool) -> anyhow::Result<()> {
    let show = |key: &Value, text: String| print(&if json { key.to_string() } else { text });
    let change = async |id: &str, fields: Map<String, Value>| admin.change(&find(admin, id).await?, fields).await;
    match command {
        KeyCommand::List => {
            let keys = admin.list().await?;
            let text = render::table(&keys);
            show(&Value::from(keys), text)
        }
        KeyCommand::Add { provider, account, label, no_try } => {
            let secret = read_key(&provider)?;
            let progress = Progress::start(format!("Trying the key at {provider}:"));
            let added = admin.add(&provider, secret, account, label, !no_try).await?;
            drop(progress);
            show(&added, render::added(&added))
        }
        KeyCommand::Test { id } => {
            let progress = Progress::start(format!("Trying {id}:"));
            let tested = admin.test(&find(admin, &id).await?).await?;
            drop(progress);
            show(&tested, render::tested(&tested))?;
            match tested["test"].as_str() {
                Some("refused" | "unanswered") => bail!("the key did not work"),
                _ => Ok(()),
            }
        }
        KeyCommand::Set { id, account, label } => {
            let account = account.map(|name| if name == "none" { Value::Null } else { name.into() });
            let given = [("account", account), ("label", label.map(Value::from))];
            let fields: Map<String, Value> =
                given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            if fields.is_empty() {
                return Err(UsageError("nothing to change: give --account or --label".to_owned()).into());
            }
            let changed = change(&id, fields).await?;
            show(&changed, render::table(std::slice::from_ref(&changed)))
        }
        KeyCommand::Disable { id } => {
            let changed = change(&id, Map::from_iter([("disabled".to_owned(), json!(true))])).await?;
            show(&changed, format!("Disabled {}. No replica admits with it any more.", render::key_name(&changed)))
        }
        KeyCommand::Enable { id } => {
            let changed = change(&id, Map::from_iter([("disabled".to_owned(), json!(false))])).await?;
            show(&changed, format!("Enabled {}.", render::key_name(&changed)))
        }
        KeyCommand::Remove { id } => {
            let id = find(admin, &id).await?;
            let removed = admin.remove(&id).await?;
            show(&removed, format!("Deleted {id}. No replica admits with it any more."))
        }
    }
}

/// The id of a key, or the nearest ones in the error.
async fn find(admin: &KeyAdmin, wanted: &str) -> anyhow::Result<String> {
    let keys = admin.list().await?;
    let ids: Vec<&str> = keys.iter().filter_map(|key| key["id"].as_str()).collect();
    if ids.contains(&wanted) {
        return Ok(wanted.to_owned());
    }
    match closest(wanted, ids.into_iter()).first() {
        Some(near) => bail!("there is no provider key `{wanted}`: did you mean `{near}`?"),
        None => bail!("there is no provider key `{wanted}`: see `tollfree providers keys list`"),
    }
}

/// A key is no argument, because arguments are visible to other users and stay in the history of the shell.
fn read_key(provider: &str) -> anyhow::Result<SecretString> {
    if stdin().is_terminal() {
        print_error(&format!("Paste the key of {provider}, then press Enter:"));
    }
    let mut text = String::new();
    stdin().lock().read_line(&mut text).context("the key cannot be read from the standard input")?;
    if text.trim().is_empty() {
        return Err(UsageError("the standard input has no key".to_owned()).into());
    }
    Ok(text.trim().into())
}
