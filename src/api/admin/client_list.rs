//! Lists clients with their usage of today, for the admin API and the `keys` command.

use crate::{
    api::{admin::client_object::ClientObject, edge::pagination::List},
    domain::ClientRecord,
    ledger::{Ledger, LedgerError},
};

/// The end of a page: a number of clients of the file, or a position in the ledger's list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cursor {
    File(usize),
    Store(i64),
}

impl Default for Cursor {
    fn default() -> Self {
        Self::File(0)
    }
}

impl Cursor {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("f", n) => n.parse().ok().map(Self::File),
            ("s", position) => position.parse().ok().map(Self::Store),
            _ => None,
        }
    }

    fn to_text(self) -> String {
        match self {
            Self::File(n) => format!("f{n}"),
            Self::Store(position) => format!("s{position}"),
        }
    }
}

/// Higher than every position in the ledger's list, which are timestamps in milliseconds.
const LIST_START: i64 = 1 << 52;
/// Records read at a time during a search.
const BATCH_SIZE: usize = 100;

/// Clients of the clients file in its order, then those of the ledger, newest first. `search` is in lower case.
pub(crate) async fn list_clients(
    ledger: &Ledger,
    limit: usize,
    from: Cursor,
    search: Option<&str>,
) -> Result<List<ClientObject>, LedgerError> {
    let (found, next) = find_records(ledger, limit, from, search).await?;
    Ok(List::new(with_usage(ledger, &found).await?, next.map(Cursor::to_text)))
}

async fn find_records(
    ledger: &Ledger,
    limit: usize,
    from: Cursor,
    search: Option<&str>,
) -> Result<(Vec<ClientRecord>, Option<Cursor>), LedgerError> {
    let matches = |record: &ClientRecord| {
        let texts = [&*record.id, &record.settings.name, &record.settings.note];
        search.is_none_or(|search| texts.iter().any(|text| text.to_lowercase().contains(search)))
    };
    let mut found = Vec::new();
    let mut below = match from {
        Cursor::Store(position) => position,
        Cursor::File(from) => {
            for (at, record) in
                ledger.file_clients().iter().enumerate().skip(from).filter(|(_, record)| matches(record))
            {
                if found.len() == limit {
                    return Ok((found, Some(Cursor::File(at))));
                }
                found.push(record.clone());
            }
            LIST_START
        }
    };
    loop {
        let page = ledger.list_clients(below, BATCH_SIZE).await?;
        for (record, position) in page.clients {
            if matches(&record) {
                if found.len() == limit {
                    return Ok((found, Some(Cursor::Store(below))));
                }
                found.push(record);
            }
            below = position;
        }
        match page.last {
            Some(position) => below = position,
            None => return Ok((found, None)),
        }
    }
}

async fn with_usage(ledger: &Ledger, records: &[ClientRecord]) -> Result<Vec<ClientObject>, LedgerError> {
    let ids: Vec<&str> = records.iter().map(|record| &*record.id).collect();
    let today = ledger.usage_today(&ids).await?;
    let now_ms = ledger.now_ms();
    Ok(records.iter().map(|record| ClientObject::new(record, today.get(&*record.id), now_ms)).collect())
}

/// One client. Its usage is left at zero if it cannot be read, because the change before has succeeded.
pub(crate) async fn client_object(ledger: &Ledger, record: &ClientRecord) -> ClientObject {
    let today = ledger.usage_today(&[&record.id]).await.unwrap_or_default();
    ClientObject::new(record, today.get(&*record.id), ledger.now_ms())
}
