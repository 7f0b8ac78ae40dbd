//! Scripts for provider keys, findings and claims: a redis-server and the embedded store reply the same.

use bytes::Bytes;
use tollfree::ledger::{engine::Reply, keys::Key, scripts::Script};

use super::clients::{Pair, words};
use crate::support::redis_server::RedisServer;

const SUBJECT: &str = "groq/1a2b3c4d";
const NEVER_ENDS: &str = "9007199254740992";

/// Writes a record; `cooldown` as the script takes it. Returns the version or the refusal.
#[track_caller]
fn write(pair: &Pair, id: &str, known: &str, record: &str, most: &str, cooldown: &str, audited: bool) -> i64 {
    let names = &pair.keys;
    let mut keys = vec![names.meta(), names.health(), names.audit(), names.provider_keys()];
    keys.extend(names.queue());
    let mut args = words(&[id, known, record, most, SUBJECT, cooldown]);
    if audited {
        args.extend(words(&["admin", "provider_key.test", id, "", "{}", ""]));
    }
    match pair.same(Script::ProviderKeyWrite, &keys, &args, |reply| reply) {
        Reply::List(words) => match words[..] {
            [Reply::Int(version), Reply::Int(now)] if now == pair.now_ms() => version,
            _ => panic!("{words:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    let Reply::Bulk(bytes) = reply else { panic!("{reply:?}") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The version, and the records in the order of their ids.
fn read(pair: &Pair) -> (i64, Vec<(String, String)>) {
    let sorted = |reply| {
        let Reply::List(words) = reply else { panic!() };
        let mut records: Vec<&[Reply]> = words[1..].chunks(2).collect();
        records.sort_by_key(|record| text(&record[0]));
        Reply::List(std::iter::once(words[0].clone()).chain(records.concat()).collect())
    };
    let Reply::List(words) = pair.same(Script::ProviderKeyRead, &[pair.keys.provider_keys()], &[], sorted) else {
        panic!()
    };
    let records = words[1..].chunks(2).map(|record| (text(&record[0]), text(&record[1]))).collect();
    (text(&words[0]).parse().unwrap(), records)
}

/// The cooldown of the key, as `health` holds it.
fn cooldown(pair: &Pair) -> Option<String> {
    let script = "return redis.call('HGET', KEYS[1], ARGV[1])";
    match pair.same_text(script, &[pair.keys.health()], &words(&[&format!("k:{SUBJECT}")])) {
        Reply::Nil => None,
        reply => Some(text(&reply)),
    }
}

#[tokio::test]
async fn a_record_is_written_once_and_its_version_never_comes_again() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    assert_eq!(read(&pair), (0, Vec::new()));
    let first = write(&pair, "groq-1", "", "one", "2", "end", true);
    assert_eq!(first, pair.now_ms());
    assert_eq!(write(&pair, "groq-1", "", "again", "2", "end", true), 0, "it is there already");
    assert_eq!(write(&pair, "groq-1", "other", "new", "2", "end", true), 0, "it is another record");
    let second = write(&pair, "groq-2", "", "two", "2", "end", true);
    assert_eq!(second, first + 1, "in the same millisecond");
    assert_eq!(write(&pair, "groq-3", "", "three", "2", "end", true), -1, "too many");
    assert_eq!(write(&pair, "groq-1", "one", "other form", "2", "keep", false), second, "the version stays");
    assert_eq!(read(&pair).1, [("groq-1".into(), "other form".into()), ("groq-2".into(), "two".into())]);
    pair.advance_us(5_000_000);
    assert_eq!(write(&pair, "groq-2", "two", "", "2", "keep", true), pair.now_ms());
    assert_eq!(write(&pair, "groq-2", "", "", "2", "keep", true), 0, "there is none to delete");
    assert_eq!(read(&pair), (pair.now_ms(), vec![("groq-1".into(), "other form".into())]));
    assert_eq!(pair.audit(9).len(), 3 * 6);
}

#[tokio::test]
async fn a_withdrawn_key_keeps_its_cooldown_until_its_operator_ends_it() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    write(&pair, "groq-1", "", "one", "9", "end", true);
    assert_eq!(cooldown(&pair), None);
    write(&pair, "groq-1", "one", "off", "9", "0", true);
    assert_eq!(cooldown(&pair).unwrap(), format!("{NEVER_ENDS} withdrawn|"));
    let mut keys = vec![pair.keys.meta(), pair.keys.health(), pair.keys.audit()];
    keys.extend(pair.keys.queue());
    let reset = words(&["reset", "groq", "admin", "provider.reset", "groq", "", "", ""]);
    pair.same(Script::Control, &keys, &reset, |reply| reply);
    assert!(cooldown(&pair).is_some(), "a reset of the provider does not end it");
    write(&pair, "groq-1", "off", "on", "9", "end", true);
    assert_eq!(cooldown(&pair), None);
    write(&pair, "groq-1", "on", "", "9", "3600000", true);
    assert_eq!(cooldown(&pair).unwrap(), format!("{} withdrawn|", pair.now_ms() + 3_600_000));
}

#[tokio::test]
async fn findings_are_shared_and_one_replica_holds_a_claim() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let names = &pair.keys;
    let [queue, ..] = names.queue();
    let keys: Vec<Key> = vec![names.meta(), names.provider_keys(), names.findings(), queue];
    let find =
        |text: &str, is_news: &str| pair.same(Script::FindingsWrite, &keys, &words(&["groq", text, is_news]), |r| r);
    find("{}", "0");
    assert_eq!(read(&pair).0, 0, "nothing to read at once");
    find("{\"listed\":1}", "1");
    assert_eq!(read(&pair).0, pair.now_ms());
    assert_eq!(found(&pair), [list(&["groq", "{\"listed\":1}"]), list(&[]), list(&[])]);
    let claim =
        |replica: &str| pair.same(Script::Claim, &[names.claim("work")], &words(&[replica, "60000"]), |reply| reply);
    let answers: Vec<Reply> = ["one", "two", "one"].map(claim).into();
    assert_eq!(answers, [1, 0, 1].map(Reply::Int));
    let beat = [Bytes::from_static(b"one")];
    let Reply::List(words) = pair.same(Script::Heartbeat, &[names.replicas(), names.provider_keys()], &beat, |r| r)
    else {
        panic!()
    };
    assert_eq!((&words[0], text(&words[1])), (&Reply::Int(1), pair.now_ms().to_string()));
}

fn list(items: &[&str]) -> Reply {
    Reply::List(words(items).into_iter().map(Reply::Bulk).collect())
}

/// The findings, and the models that were refused.
fn found(pair: &Pair) -> Vec<Reply> {
    let keys = [pair.keys.findings(), pair.keys.refused_models(), pair.keys.allowances()];
    let Reply::List(both) = pair.same(Script::FindingsRead, &keys, &[], |reply| reply) else { panic!() };
    both
}

#[tokio::test]
async fn a_refused_model_is_noted_once_and_keeps_its_first_date() {
    fn refuse(pair: &Pair, args: &[&str]) -> i64 {
        let names = &pair.keys;
        let [queue, ..] = names.queue();
        let keys = [names.meta(), names.provider_keys(), names.refused_models(), queue];
        let Reply::Int(changed) = pair.same(Script::ModelRefused, &keys, &words(args), |reply| reply) else { panic!() };
        changed
    }
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    let since = pair.now_ms();
    let entry = |ends_at: i64, cause: &str| list(&["groq/a/b", &format!("{since} {ends_at} {cause}")]);
    assert_eq!(refuse(&pair, &["1000", "no such model", "groq/a/b"]), 1);
    let version = read(&pair).0;
    assert_eq!(refuse(&pair, &["1000", "404", "groq/a/b"]), 0, "it is known");
    assert_eq!((read(&pair).0, &found(&pair)[1]), (version, &entry(since + 1_000, "no such model")));
    pair.advance_us(2_000_000);
    assert_eq!(refuse(&pair, &["1000", "410", "groq/a/b"]), 1, "its time is over");
    assert_eq!(found(&pair)[1], entry(since + 3_000, "410"));
    assert!(read(&pair).0 > version, "replicas read again");
    assert_eq!(refuse(&pair, &["0", "", "groq/a/b", "groq/other"]), 1);
    assert_eq!(found(&pair)[1], list(&[]));
}
