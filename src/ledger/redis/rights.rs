//! Finds out whether the user of `REDIS_URL` may do what the scripts need. A right that is missing would otherwise show in the
//! middle of a script, when a part of its work is done.

use redis::{Cmd, RedisError, Value, aio::MultiplexedConnection};

use crate::ledger::keys::Key;

/// Runs each command that the scripts use once, on a key of its own, in a form that changes nothing else. Permissions are
/// checked before a command looks at its key, so that other errors do not matter.
const PROBE: &str = r"
local key, channel, missing = KEYS[1], ARGV[1], {}
local commands = {
  { 'SET', key, '', 'PX', '1000' }, { 'GET', key }, { 'GETEX', key }, { 'EXISTS', key }, { 'TYPE', key }, { 'PTTL', key },
  { 'PEXPIRE', key, '1000' }, { 'HSET', key, 'f', '' }, { 'HGET', key, 'f' }, { 'HMGET', key, 'f' }, { 'HDEL', key, 'f' },
  { 'HGETALL', key }, { 'HINCRBY', key, 'f', '1' }, { 'HLEN', key }, { 'HKEYS', key }, { 'HEXISTS', key, 'f' },
  { 'ZADD', key, '1', 'm' }, { 'ZREM', key, 'm' }, { 'ZCARD', key }, { 'ZCOUNT', key, '0', '1' },
  { 'ZLEXCOUNT', key, '-', '+' }, { 'ZRANGE', key, '0', '1' }, { 'ZRANGEBYSCORE', key, '0', '1' }, { 'ZRANGEBYLEX', key, '-', '+' },
  { 'ZREMRANGEBYSCORE', key, '0', '1' }, { 'XADD', key, '*', 'f', '' }, { 'XRANGE', key, '-', '+', 'COUNT', '1' },
  { 'XREVRANGE', key, '+', '-', 'COUNT', '1' }, { 'TIME' }, { 'PUBLISH', channel, '' }, { 'DEL', key },
}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local message = type(reply) == 'table' and reply.err
  if message and (string.find(message, 'NOPERM', 1, true) or string.find(message, 'The user executing', 1, true)
    or string.find(message, 'no permissions', 1, true)) then
    missing[#missing + 1] = command[1]
  end
end
return table.concat(missing, ', ')
";

/// The part of a key by which it belongs to its pool: up to its hash tag.
pub(super) fn prefix_of(key: &str) -> &str {
    let end = key.find('}').map_or(0, |at| at + 1);
    let colon = usize::from(key[end..].starts_with(':'));
    &key[..end + colon]
}

/// Rights that are missing, as text for the operator. `None`: all are there. `of_pool`: any key of the pool.
pub(super) async fn missing(
    connection: &mut MultiplexedConnection,
    of_pool: &Key,
) -> Result<Option<String>, RedisError> {
    let prefix = prefix_of(of_pool);
    let mut probe = Cmd::new();
    probe.arg("EVAL").arg(PROBE).arg(1).arg(format!("{prefix}rights")).arg(format!("{prefix}queue"));
    let mut by_digest = Cmd::new();
    by_digest.arg("EVALSHA").arg("0".repeat(40)).arg(1).arg(format!("{prefix}rights"));
    let mut missing = Vec::new();
    for (command, name) in [(by_digest, "EVALSHA"), (probe, "EVAL")] {
        match connection.send_packed_command(&command).await?.extract_error() {
            Ok(Value::BulkString(names)) if !names.is_empty() => {
                missing.push(String::from_utf8_lossy(&names).into_owned());
            }
            Ok(_) => {}
            Err(error) if error.code() == Some("NOSCRIPT") => {}
            Err(error) if error.code() == Some("NOPERM") && error.detail().is_some_and(|text| text.contains("key")) => {
                return Ok(Some(format!(
                    "its user has no access to the keys `{prefix}*` (docs/redis.md has the rights)"
                )));
            }
            Err(error) if error.code() == Some("NOPERM") => missing.push(name.to_owned()),
            Err(error) => return Err(error),
        }
    }
    let names = missing.join(", ");
    Ok((!missing.is_empty()).then(|| {
        format!("its user may not run {names} on the keys and the channel `{prefix}*` (docs/redis.md has the rights)")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_pool_of_its_tag() {
        for (key, prefix) in [("tf1:{default}:w:groq/main:rpm", "tf1:{default}:"), ("{t}n", "{t}"), ("n", "")] {
            assert_eq!(prefix_of(key), prefix);
        }
    }

    #[test]
    fn every_command_of_the_scripts_is_probed() {
        let scripts = crate::ledger::scripts::Script::ALL.iter().map(|script| script.source());
        for script in scripts {
            for call in script.split("redis.call('").skip(1) {
                let command = call.split('\'').next().unwrap();
                assert!(PROBE.contains(&format!("'{command}'")), "{command}");
            }
        }
    }
}
