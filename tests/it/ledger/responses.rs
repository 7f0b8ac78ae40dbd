//! Scripts for stored responses: a redis-server and the embedded store reply the same.

use tollfree::ledger::{engine::Reply, scripts::Script};

use super::clients::{Pair, bulk, words};
use crate::support::redis_server::RedisServer;

const HOUR_MS: &str = "3600000";

/// The stored responses of one client.
struct Stored<'p> {
    pair: &'p Pair,
    client: &'static str,
}

impl Stored<'_> {
    #[track_caller]
    fn run(&self, script: Script, with_meta: bool, args: &[&str]) -> Reply {
        let mut keys = self.pair.keys.stored_responses(self.client).to_vec();
        if with_meta {
            keys.insert(0, self.pair.keys.meta());
        }
        self.pair.same(script, &keys, &words(args), |reply| reply)
    }

    #[track_caller]
    fn put(&self, id: &str, previous: &str, object: &str, most: &str) -> bool {
        let reply = self.run(Script::ResponsePut, true, &[id, previous, "[]", object, HOUR_MS, most]);
        assert!(matches!(reply, Reply::Int(0 | 1)), "{reply:?}");
        reply == Reply::Int(1)
    }

    /// The objects of the conversation that ends with a response, the latest first.
    #[track_caller]
    fn chain(&self, id: &str, most: &str) -> Vec<Reply> {
        let Reply::List(parts) = self.run(Script::ResponseGet, true, &[id, most]) else { panic!() };
        parts.chunks_exact(2).map(|pair| pair[1].clone()).collect()
    }

    #[track_caller]
    fn delete(&self, id: &str) -> bool {
        self.run(Script::ResponseDelete, false, &[id]) == Reply::Int(1)
    }
}

#[tokio::test]
async fn a_conversation_is_read_by_its_last_response_and_by_its_own_client() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let (ann, bob) = (Stored { pair: &pair, client: "ann" }, Stored { pair: &pair, client: "bob" });
    assert!(
        ann.put("r1", "", "one", "1000") && ann.put("r2", "r1", "two", "1000") && ann.put("r3", "r2", "three", "1000")
    );
    assert_eq!(ann.chain("r3", "9"), ["three", "two", "one"].map(bulk));
    assert_eq!(ann.chain("r3", "1"), ["three"].map(bulk), "the response alone");
    assert_eq!(ann.chain("r3", "2"), [], "a part of a conversation is none");
    assert_eq!(bob.chain("r3", "9"), []);
    assert!(!bob.delete("r2") && ann.delete("r2") && !ann.delete("r2"));
    assert_eq!(ann.chain("r3", "9"), [], "a response of the conversation is missing");
    assert_eq!(ann.chain("r3", "1"), ["three"].map(bulk));
}

#[tokio::test]
async fn storage_is_bounded_in_bytes_and_time() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    let object = "x".repeat(98);
    let ann = Stored { pair: &pair, client: "ann" };
    assert!(!ann.put("large", "", &object, "99"), "100 bytes with its items");
    for id in ["r1", "r2", "r3"] {
        assert!(ann.put(id, "", &object, "300"));
    }
    // The same again takes no room twice.
    assert!(ann.put("r3", "", &object, "300") && ann.chain("r1", "1").len() == 1);
    pair.advance_us(1_000_000);
    let ann = Stored { pair: &pair, client: "ann" };
    assert!(ann.put("r4", "", &object, "300"));
    let kept = ["r1", "r2", "r3", "r4"].map(|id| ann.chain(id, "1").len());
    assert_eq!(kept.iter().sum::<usize>(), 3, "one of the oldest made room: {kept:?}");
    assert_eq!(kept[3], 1);
    // Deleted ones give their room back.
    assert!(ann.delete("r4") && ann.put("r5", "", &object, "300"));
    pair.advance_us(3_599_000_000);
    let ann = Stored { pair: &pair, client: "ann" };
    assert_eq!(["r2", "r3"].map(|id| ann.chain(id, "1").len()), [0, 0], "an hour has passed");
    assert_eq!(ann.chain("r5", "1").len(), 1);
    assert!(ann.put("r6", "", &object, "200"), "expired ones make room first");
    assert_eq!(ann.chain("r5", "1").len(), 1);
}
