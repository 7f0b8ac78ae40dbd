//! Changing members: each change and its audit entry are one atomic step, against the version that was read before.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::{
    BadField, ClientRecord, ClientSettings, ClientSource, KeyDigest,
    client_record::Secret,
    key::{self, NoRandomness},
};
use crate::ledger::{
    clients::audit::{Action, ChangedBy, Note},
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// Members of one pool.
const MEMBERS_MOST: i64 = 10_000;
/// Somebody else's change in between costs a turn.
const TURNS: usize = 8;

/// Why a member stays as it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    #[error("There is no client `{0}`.")]
    Unknown(String),
    #[error("The client `{0}` has been revoked, which is final: delete it, or make another one.")]
    Revoked(String),
    #[error("The client `{0}` stands in the file of hashes (`clients.file`): change it there.")]
    InFile(String),
    #[error("There are {MEMBERS_MOST} clients, and no more are kept: delete some.")]
    TooMany,
    #[error("The client `{0}` is being changed by others all the time: try again.")]
    Busy(String),
    #[error(transparent)]
    Bad(#[from] BadField),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What becomes of a record.
enum Fate {
    /// Fields and values; see the script.
    Set(Vec<(&'static str, String)>),
    Drop,
}

/// One write, as the script answered it.
enum Written {
    At { version: i64, now_ms: i64 },
    Outdated,
    TooMany,
}

impl Ledger {
    /// A new member, and its key: the only time that it is seen.
    pub async fn create_client(
        &self,
        said: &Map<String, Value>,
        by: &ChangedBy,
    ) -> Result<(ClientRecord, String), ChangeError> {
        let settings = ClientSettings::new(said, self.time())?;
        for _ in 0..TURNS {
            let id = key::fresh_id()?;
            if self.is_listed(&id) {
                continue;
            }
            let secret = key::fresh_key(&id)?;
            let digest = KeyDigest::of(&secret);
            let mut fields = said_fields(&settings);
            fields.extend([("d", digest.hex()), ("@made", "0".to_owned())]);
            let after = whole(&settings);
            let note = Note { by, action: Action::ClientCreate, subject: &id, before: Map::new(), after };
            match self.write(&id, 0, Fate::Set(fields), &note).await? {
                Written::Outdated => {}
                Written::TooMany => return Err(ChangeError::TooMany),
                Written::At { version, now_ms } => {
                    let member = ClientRecord {
                        id: id.into(),
                        source: ClientSource::Store,
                        settings,
                        version,
                        secrets: vec![Secret { digest, until_ms: None }],
                        created_ms: Some(now_ms),
                        rotated_ms: None,
                        revoked_ms: None,
                        used_ms: None,
                    };
                    return Ok((member, secret));
                }
            }
        }
        Err(ChangeError::Busy("new".to_owned()))
    }

    /// Changes what an admin says of a member. Nothing is written where nothing differs.
    pub async fn update_client(
        &self,
        id: &str,
        said: &Map<String, Value>,
        by: &ChangedBy,
    ) -> Result<ClientRecord, ChangeError> {
        self.change(id, by, Action::ClientUpdate, |member, now_ms| {
            let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
            let settings = member.settings.changed(said, now)?;
            let (before, after) = member.settings.differences(&settings);
            if after.is_empty() {
                return Ok(None);
            }
            let fields = said_fields(&settings);
            Ok(Some(Step {
                fate: Fate::Set(fields),
                before,
                after,
                then: Box::new(|member, _| member.settings = settings),
            }))
        })
        .await
    }

    /// Gives a member a new key. The old one works for `overlap` more; one older than that not any more.
    pub async fn rotate_client_key(
        &self,
        id: &str,
        overlap: Duration,
        by: &ChangedBy,
    ) -> Result<(ClientRecord, String), ChangeError> {
        let secret = key::fresh_key(id)?;
        let digest = KeyDigest::of(&secret);
        let overlap_ms = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        let member = self
            .change(id, by, Action::ClientRotate, |member, now_ms| {
                let old = member.secrets.iter().find(|secret| secret.until_ms.is_none()).map(|secret| secret.digest);
                let mut fields = vec![("d", digest.hex()), ("@rot", "0".to_owned())];
                if let Some(old) = old {
                    fields.extend([("old", old.hex()), ("@oldx", overlap_ms.to_string())]);
                }
                let until = Timestamp::from_millisecond(now_ms.saturating_add(overlap_ms)).unwrap_or_default();
                let after = object(json!({ "old_secret_until": until }));
                let then = Box::new(move |member: &mut ClientRecord, now_ms: i64| {
                    let until_ms = Some(now_ms.saturating_add(overlap_ms));
                    let old = old.map(|digest| Secret { digest, until_ms });
                    member.secrets = [Secret { digest, until_ms: None }].into_iter().chain(old).collect();
                    member.rotated_ms = Some(now_ms);
                });
                Ok(Some(Step { fate: Fate::Set(fields), before: Map::new(), after, then }))
            })
            .await?;
        Ok((member, secret))
    }

    /// Ends a member's key for good. It stays on the list.
    pub async fn revoke_client(&self, id: &str, by: &ChangedBy) -> Result<ClientRecord, ChangeError> {
        let revoked = self
            .change(id, by, Action::ClientRevoke, |_, _| {
                let fields = vec![("off", "1".to_owned()), ("@rev", "0".to_owned())];
                let then = Box::new(|member: &mut ClientRecord, now_ms| member.revoked_ms = Some(now_ms));
                let after = object(json!({ "revoked": true }));
                Ok(Some(Step { fate: Fate::Set(fields), before: object(json!({ "revoked": false })), after, then }))
            })
            .await;
        match revoked {
            // It is what was asked for.
            Err(ChangeError::Revoked(_)) => self.find(id).await.map(|(member, _)| member),
            other => other,
        }
    }

    /// Takes a member away. Its key opens nothing any more; what it used stays in the journal.
    pub async fn delete_client(&self, id: &str, by: &ChangedBy) -> Result<(), ChangeError> {
        for _ in 0..TURNS {
            let (member, _) = self.find(id).await?;
            let note = Note {
                by,
                action: Action::ClientDelete,
                subject: id,
                before: whole(&member.settings),
                after: Map::new(),
            };
            if let Written::At { .. } = self.write(id, member.version, Fate::Drop, &note).await? {
                return Ok(());
            }
        }
        Err(ChangeError::Busy(id.to_owned()))
    }

    /// The ledger's time by this replica's reckoning.
    fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or_default()
    }

    /// The member and the ledger's time; an error where it is not there to be changed.
    async fn find(&self, id: &str) -> Result<(ClientRecord, i64), ChangeError> {
        if self.is_listed(id) {
            return Err(ChangeError::InFile(id.to_owned()));
        }
        if !key::is_id(id) {
            return Err(ChangeError::Unknown(id.to_owned()));
        }
        let (now_ms, mut found) = self.read_clients(&[id]).await?;
        let member = found.pop().flatten().ok_or_else(|| ChangeError::Unknown(id.to_owned()))?;
        Ok((member, now_ms))
    }

    /// Reads, lets `step` say what is to be done, writes; again where somebody else came in between.
    async fn change<'a>(
        &self,
        id: &str,
        by: &ChangedBy,
        action: Action,
        mut step: impl FnMut(&ClientRecord, i64) -> Result<Option<Step<'a>>, BadField>,
    ) -> Result<ClientRecord, ChangeError> {
        for _ in 0..TURNS {
            let (mut member, now_ms) = self.find(id).await?;
            if member.revoked_ms.is_some() {
                return Err(ChangeError::Revoked(id.to_owned()));
            }
            let Some(Step { fate, before, after, then }) = step(&member, now_ms)? else { return Ok(member) };
            let note = Note { by, action, subject: id, before, after };
            if let Written::At { version, now_ms } = self.write(id, member.version, fate, &note).await? {
                member.version = version;
                then(&mut member, now_ms);
                return Ok(member);
            }
        }
        Err(ChangeError::Busy(id.to_owned()))
    }

    async fn write(&self, id: &str, version: i64, fate: Fate, note: &Note<'_>) -> Result<Written, LedgerError> {
        let keys = &self.shared.keys;
        let (what, fields) = match fate {
            Fate::Set(fields) => ("set", fields),
            Fate::Drop => ("drop", Vec::new()),
        };
        let mut args = vec![
            Bytes::from(version.to_string()),
            Bytes::from_static(what.as_bytes()),
            Bytes::from(MEMBERS_MOST.to_string()),
        ];
        args.extend(note.words());
        for (field, value) in fields {
            args.extend([Bytes::from_static(field.as_bytes()), Bytes::from(value)]);
        }
        let all = vec![keys.meta(), keys.audit(), keys.clients(), keys.member(id)];
        let reply = self.shared.run(&ScriptCall { script: Script::ClientWrite, keys: all, args }).await?;
        // This replica need not wait until it notices.
        self.shared.members.forget(id);
        match &reply {
            Reply::List(words) => match words[..] {
                [Reply::Int(0), _] => Ok(Written::Outdated),
                [Reply::Int(-1), _] => Ok(Written::TooMany),
                [Reply::Int(version), Reply::Int(now_ms)] => Ok(Written::At { version, now_ms }),
                _ => Err(LedgerError::Internal(format!("`clients` answered {reply:?}"))),
            },
            _ => Err(LedgerError::Internal(format!("`clients` answered {reply:?}"))),
        }
    }
}

/// The same change of the member at hand, once it is written: it and the ledger's time.
type Then<'a> = Box<dyn FnOnce(&mut ClientRecord, i64) + Send + 'a>;

/// One change of a record that was read.
struct Step<'a> {
    fate: Fate,
    before: Map<String, Value>,
    after: Map<String, Value>,
    then: Then<'a>,
}

/// The fields of a record that hold what an admin said.
fn said_fields(settings: &ClientSettings) -> Vec<(&'static str, String)> {
    let off = if settings.disabled { "1" } else { "0" };
    let expires = settings.expires_at.map_or(0, Timestamp::as_millisecond);
    let said = Value::Object(whole(settings)).to_string();
    vec![("off", off.to_owned()), ("exp", expires.to_string()), ("rec", said)]
}

fn whole(settings: &ClientSettings) -> Map<String, Value> {
    object(serde_json::to_value(settings).unwrap_or_default())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
