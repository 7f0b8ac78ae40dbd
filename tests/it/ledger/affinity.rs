//! The candidates of sessions: a redis-server and the embedded store reply the same, and one command reads and renews.

use tollfree::ledger::scripts::Script;

use super::clients::{Pair, bulk, words};
use crate::support::redis_server::RedisServer;

#[tokio::test]
async fn a_session_is_found_until_it_is_kept_elsewhere() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let keys = [pair.keys.affinity("one")];
    let run = |args: &[&str]| pair.same(Script::Affinity, &keys, &words(args), |reply| reply);
    assert_eq!(run(&["60000", ""]), bulk(""), "a new session");
    assert_eq!(run(&["60000", "groq/main/m"]), bulk("groq/main/m"));
    assert_eq!(run(&["60000", ""]), bulk("groq/main/m"));
    assert_eq!(run(&["60000", "gemini/x/f"]), bulk("gemini/x/f"));
    assert_eq!(run(&["60000", ""]), bulk("gemini/x/f"));
    server.command(&["CONFIG", "RESETSTAT"]);
    run(&["1800000", ""]);
    let stats = server.command(&["INFO", "commandstats"]);
    let called: Vec<&str> = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next()).collect();
    let inside: Vec<&&str> = called
        .iter()
        .filter(|name| !["eval", "config", "info", "quit"].iter().any(|other| name.starts_with(other)))
        .collect();
    assert_eq!(inside, [&"getex"], "{stats}");
}
