//! Both engines reply alike: random histories of every command that the scripts use, on a real Redis and embedded.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tollfree::{
    ledger::{
        embedded::EmbeddedEngine,
        engine::{EngineError, Reply},
        keys::Key,
        redis::RedisEngine,
    },
    shutdown::Tasks,
};

use crate::support::{eventually, redis_server::RedisServer};

/// Prints a reply as Lua sees it. Unordered replies are sorted and remaining lifetimes rounded.
const SHOW: &str = r"
local function show(v)
  local t = type(v)
  if t == 'number' then return 'n:' .. string.format('%.17g', v) end
  if t == 'table' then
    if v.err then return 'err:' .. v.err end
    if v.ok then return 'ok:' .. v.ok end
    local parts = {}
    for i = 1, #v do parts[i] = show(v[i]) end
    return '[' .. table.concat(parts, ',') .. ']'
  end
  return t .. ':' .. tostring(v)
end
local function unordered(v)
  if type(v) == 'table' and not v.err then table.sort(v) end
  return v
end
local function pairs_of(v)
  if type(v) ~= 'table' or v.err then return v end
  local flat = {}
  for i = 1, #v, 2 do flat[#flat + 1] = v[i] .. '=' .. v[i + 1] end
  table.sort(flat)
  return flat
end
local function life(v)
  if type(v) ~= 'number' or v < 0 then return v end
  return v < 5000 and 'soon' or math.floor(v / 100000 + 0.5)
end
local function added(v)
  if type(v) == 'string' and #v > 12 then return 'by the clock' end
  return v
end
local r = {}
";

/// Two engines that start empty.
struct EnginePair {
    runtime: tokio::runtime::Runtime,
    redis: RedisEngine,
    embedded: EmbeddedEngine,
    _tasks: Tasks,
    _server: RedisServer,
}

impl EnginePair {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (server, tasks, redis) = runtime.block_on(async {
            let (server, tasks) = (RedisServer::start().await, Tasks::new());
            let redis = RedisEngine::connect(server.url().parse().unwrap(), "t", &tasks);
            until_ready(&redis).await;
            (server, tasks, redis)
        });
        Self { runtime, redis, embedded: EmbeddedEngine::in_memory(), _tasks: tasks, _server: server }
    }

    /// Both replies, with errors reduced to their message. `None` if Redis missed the deadline.
    fn both(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Option<[Result<Reply, String>; 2]> {
        let theirs = self.runtime.block_on(self.redis.run_text(text, keys, args));
        if let Err(EngineError::Unreachable(_)) = theirs {
            self.runtime.block_on(until_ready(&self.redis));
            return None;
        }
        Some([theirs.map_err(message), self.embedded.run_text(text, keys, args).map_err(message)])
    }

    /// Both replies to a script if they differ.
    fn differ(&self, text: &str) -> Option<String> {
        let [theirs, ours] = self.both(text, &["k".into()], &[Bytes::from_static(b"a\0\xff")]).unwrap();
        (theirs != ours).then(|| format!("{text}\n  Redis:    {theirs:?}\n  embedded: {ours:?}"))
    }
}

async fn until_ready(redis: &RedisEngine) {
    let ready = async || redis.run_text("return 1", &[], &[]).await.ok();
    eventually(Duration::from_secs(5), "Redis replies", ready).await;
}

fn message(error: EngineError) -> String {
    match error {
        EngineError::Script { message, .. } => message.split(" script: ").next().unwrap_or_default().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn replies_and_arguments_are_converted_alike() {
    let pair = EnginePair::start();
    let texts = [
        "return 3.99",
        "return -3.99",
        "return 1e300",
        "return -1e300",
        "return 0/0",
        "return 2^53",
        "return 2^63",
        "return true",
        "return false",
        "return nil",
        "return 'x'",
        "return ''",
        "return {}",
        "return {1, 2, nil, 4}",
        "return {1, {2, {3.5, 'x'}}, false, true}",
        "return {ok = 'FINE'}",
        "return {err = 'ERR mine'}",
        "return {err = 'mine'}",
        "return print",
        "return KEYS[1] .. ARGV[1] .. #KEYS .. #ARGV",
        "return {type(KEYS[2]), type(ARGV[2])}",
        "return redis.call('SET', 'k', 'v')",
        "return redis.call('SET', 'k', 'v').ok",
        "return type(redis.call('GET', 'none'))",
        "return tostring(redis.call('GET', 'none'))",
        "return redis.call('HMGET', 'none', 'a', 'b')",
        "return redis.call('HGETALL', 'none')",
        "return redis.call('GET')",
        "return redis.call('NOSUCH', 'k')",
        "return redis.call()",
        "return redis.pcall()",
        "return redis.call('SET', 'k', {})",
        "return redis.call('SET', 'k', true)",
        "return redis.call('SET', 'k', nil)",
        "return redis.pcall('GET').err",
        "redis.call('SET', 'k', 'v') return redis.call('HGET', 'k', 'f')",
        "error({err = 'MINE own'})",
        "redis.call('hset', 'h', 'n', 7) return redis.call('hincrby', 'h', 'n', 5.0)",
        "redis.call('HSET', 'h', 'n', '1x') return redis.call('HINCRBY', 'h', 'n', 1)",
        "redis.call('SET', 'n', 9007199254740993) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', 1e17) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', 1e15) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', 1/0) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', -1/0) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', 0/0) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', -(0/0)) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', -0.0) return redis.call('GET', 'n')",
        "redis.call('HSET', 'h', 'n', '9223372036854775807') return redis.call('HINCRBY', 'h', 'n', 1)",
        "redis.call('HSET', 'h', 'n', '9223372036854775806') return redis.call('HINCRBY', 'h', 'n', 1)",
        "redis.call('HSET', 'h', 'n', '-9223372036854775808') return redis.call('HINCRBY', 'h', 'n', -1)",
        "return {string.format('%.17g', 0.1), tostring(0.1), tostring(1e15), 10 .. ''}",
        "return #redis.call('TIME')",
        "return redis.call('PUBLISH', 'ch', 'm')",
        "return #string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')",
        "return {unpack({1, 2, 3}, 2, 3)}",
        "return select('#', unpack({1, nil, 3}, 1, 3))",
        "return struct.pack('<dddd', 0, -1.5, 2^53, 1764000000000)",
        "return {struct.unpack('<dd', struct.pack('<dd', 12345678901, 7))}",
        "return {tostring(select(2, struct.unpack('<ddd', struct.pack('<ddd', 1, 0.1, 3) .. 'more')))}",
        "return select('#', struct.unpack('<', ''))",
    ];
    let differing: Vec<_> = texts.into_iter().filter_map(|text| pair.differ(text)).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn scripts_cannot_leave_their_environment() {
    let pair = EnginePair::start();
    for text in [
        "x = 1",
        "return x",
        "print('x')",
        "return os.time()",
        "return io",
        "require('x')",
        "return 1 +",
        "local function f() return f() + 1 end return f()",
    ] {
        let [theirs, ours] = pair.both(text, &[], &[]).unwrap();
        assert!(ours.is_err(), "{text}: {ours:?}, and Redis: {theirs:?}");
    }
    let [theirs, ours] = pair.both("local s = 0 for i = 1, 10 do s = s + nosuch end return s", &[], &[]).unwrap();
    assert!(theirs.is_err() && ours.is_err());
}

fn key() -> impl Strategy<Value = String> {
    (0..6).prop_map(|n| format!("KEYS[1] .. '{n}'"))
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..6).prop_map(|n| format!("'f{n}'")),
        // Enough to leave what is stored compactly.
        1 => (0..60).prop_map(|n| format!("'f{n}'")),
        1 => Just("''".to_owned()),
        1 => number(),
    ]
}

/// A number as a script would write it: integers and fractions, small ones and ones near the limits of a double.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-20..20_i64).prop_map(|n| format!("({n})")),
        2 => (-(1_i64 << 53)..(1 << 53)).prop_map(|n| format!("({n})")),
        2 => (-1e6..1e6_f64).prop_map(|x| format!("({x:e})")),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| format!("({x:e})")),
        1 => (-400..400_i32).prop_map(|n| format!("({})", f64::from(n) / 8.0)),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => number(),
        2 => "[a-z]{0,8}".prop_map(|s| format!("'{s}'")),
        1 => proptest::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| {
            let escaped: Vec<_> = bytes.iter().map(|b| format!("\\{b:03}")).collect();
            format!("'{}'", escaped.concat())
        }),
        1 => Just("ARGV[1]".to_owned()),
        1 => prop_oneof![Just("'007'"), Just("'1.0'"), Just("' 1'"), Just("'-0'"), Just("'1e3'")].prop_map(str::to_owned),
    ]
}

fn score() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => number(),
        1 => prop_oneof![Just("'inf'"), Just("'-inf'"), Just("'+inf'"), Just("'1e3'"), Just("'.5'"), Just("'abc'"), Just("'nan'"), Just("'1e999'"), Just("'1e-999'"), Just("'0e-999'"), Just("'-1e999'")]
            .prop_map(str::to_owned),
    ]
}

fn bound() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => number(),
        2 => number().prop_map(|n| format!("'(' .. {n}")),
        2 => prop_oneof![Just("'-inf'"), Just("'+inf'"), Just("'(inf'"), Just("'x'"), Just("'1e999'"), Just("'1e-999'")].prop_map(str::to_owned),
    ]
}

fn index() -> impl Strategy<Value = String> {
    prop_oneof![6 => (-6..8_i64).prop_map(|n| format!("({n})")), 1 => Just("'x'".to_owned()), 1 => Just("1.5".to_owned())]
}

/// A lifetime in ms that ends before the next script, and that exceeds the time between two clock readings of Redis.
const SHORT: &str = "16";
/// After this time a key with the lifetime [`SHORT`] has expired.
const OUTLIVED: Duration = Duration::from_millis(20);

/// A lifetime that ends before the next script, or long after the test.
fn span() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(SHORT.to_owned()),
        1 => Just("0".to_owned()),
        1 => Just("-5".to_owned()),
        3 => Just("1000000".to_owned()),
        2 => Just("5000000.0".to_owned()),
        1 => Just("'x'".to_owned()),
        1 => Just("2.5".to_owned()),
        1 => Just("'4611686018427387'".to_owned()),
    ]
}

fn stream_id() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..9_u64, 0..4_u64).prop_map(|(ms, seq)| format!("'{ms}-{seq}'")),
        2 => (0..9_u64).prop_map(|ms| format!("'{ms}'")),
        1 => prop_oneof![Just("'x'"), Just("'1-x'"), Just("'0-0'"), Just("'-1'"), Just("'1-2-3'")].prop_map(str::to_owned),
        1 => Just("'*'".to_owned()),
    ]
}

fn stream_bound() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("'-'".to_owned()),
        3 => Just("'+'".to_owned()),
        3 => stream_id(),
        2 => (0..9_u64, 0..4_u64).prop_map(|(ms, seq)| format!("'({ms}-{seq}'")),
        1 => Just("'(0-0'".to_owned()),
    ]
}

/// One line of Lua that records the reply to one command.
fn step() -> impl Strategy<Value = String> {
    let call = |name: &'static str, args: Vec<String>| format!("redis.pcall('{name}', {})", args.join(", "));
    let of =
        move |name: &'static str, args: Vec<BoxedStrategy<String>>| args.prop_map(move |args| call(name, args)).boxed();
    let any_of =
        |words: &'static [&'static str]| proptest::sample::select(words).prop_map(|w| format!("'{w}'")).boxed();
    let (key, field, value, number) = (|| key().boxed(), || field().boxed(), || value().boxed(), || number().boxed());
    let (score, bound, index, span) = (|| score().boxed(), || bound().boxed(), || index().boxed(), || span().boxed());
    let (id, edge) = (|| stream_id().boxed(), || stream_bound().boxed());
    let noted = prop_oneof![
        3 => of("GET", vec![key()]),
        2 => of("GETEX", vec![key(), any_of(&["PX", "px", "QX"]), span()]),
        3 => of("SET", vec![key(), value()]),
        1 => of("SET", vec![key(), value(), any_of(&["NX", "nx", "KEEPTTL", "GET", "QX"])]),
        2 => of("SET", vec![key(), value(), any_of(&["PX", "px"]), span()]),
        1 => of("SET", vec![key(), value(), any_of(&["PX"]), span(), any_of(&["NX", "KEEPTTL", "GET", "PX"])]),
        1 => of("SET", vec![key(), value(), any_of(&["NX"]), any_of(&["GET"]), any_of(&["PX"]), span()]),
        2 => of("DEL", vec![key()]),
        1 => of("DEL", vec![key(), key(), key()]),
        2 => of("EXISTS", vec![key(), key()]),
        4 => of("PEXPIRE", vec![key(), span()]),
        4 => of("HGET", vec![key(), field()]),
        4 => of("HMGET", vec![key(), field(), field(), field()]),
        6 => of("HSET", vec![key(), field(), value()]),
        3 => of("HSET", vec![key(), field(), value(), field(), number()]),
        1 => of("HSET", vec![key(), field(), value(), field()]),
        3 => of("HDEL", vec![key(), field(), field()]),
        4 => of("HINCRBY", vec![key(), field(), number()]),
        1 => of("HINCRBY", vec![key(), field(), value()]),
        2 => of("HLEN", vec![key()]),
        2 => of("HEXISTS", vec![key(), field()]),
        6 => of("ZADD", vec![key(), score(), field()]),
        3 => of("ZADD", vec![key(), number(), field(), score(), field()]),
        2 => of("ZREM", vec![key(), field(), field()]),
        2 => of("ZCARD", vec![key()]),
        2 => of("ZCOUNT", vec![key(), bound(), bound()]),
        2 => of("ZRANGE", vec![key(), index(), index()]),
        2 => of("ZRANGE", vec![key(), index(), index(), any_of(&["WITHSCORES", "REV", "withscores", "WHAT"])]),
        1 => of("ZRANGE", vec![key(), bound(), bound(), any_of(&["BYSCORE"]), any_of(&["WITHSCORES", "REV"])]),
        1 => of("ZRANGE", vec![key(), index(), index(), any_of(&["LIMIT"]), index(), index()]),
        2 => of("ZRANGEBYSCORE", vec![key(), bound(), bound()]),
        2 => of("ZRANGEBYSCORE", vec![key(), bound(), bound(), any_of(&["WITHSCORES"]), any_of(&["LIMIT"]), index(), index()]),
        1 => of("ZRANGEBYSCORE", vec![key(), bound(), bound(), any_of(&["LIMIT"]), index(), index()]),
        2 => of("ZREMRANGEBYSCORE", vec![key(), bound(), bound()]),
        5 => of("XADD", vec![key(), id(), field(), value()]).prop_map(|call| format!("added({call})")),
        2 => of("XADD", vec![key(), any_of(&["MAXLEN"]), any_of(&["~"]), index(), id(), field(), value()])
            .prop_map(|call| format!("added({call})")),
    ];
    let shown = prop_oneof![
        3 => of("HGETALL", vec![key()]).prop_map(|call| format!("pairs_of({call})")),
        2 => of("HKEYS", vec![key()]).prop_map(|call| format!("unordered({call})")),
        3 => of("PTTL", vec![key()]).prop_map(|call| format!("life({call})")),
        // Entries with ids from the clock are only counted.
        2 => of("XRANGE", vec![key(), edge(), edge()]).prop_map(|call| format!("#{call}")),
        2 => of("XREVRANGE", vec![key(), edge(), edge(), any_of(&["COUNT", "count"]), index()]).prop_map(|call| {
            format!("(function(v) return type(v) == 'table' and not v.err and v[1] and v[1][2] or v end)({call})")
        }),
        2 => of("XRANGE", vec![key(), edge(), edge(), any_of(&["COUNT"]), index()]).prop_map(|call| {
            format!("(function(v) return type(v) == 'table' and not v.err and v[1] and #v[1][1] < 9 and v[1] or 0 end)({call})")
        }),
    ];
    prop_oneof![5 => noted, 1 => shown].prop_map(|call| format!("r[#r + 1] = show({call})"))
}

#[test]
fn random_histories_get_the_same_replies() {
    let pair = EnginePair::start();
    let histories = std::cell::Cell::new(0);
    let scripts = proptest::collection::vec(proptest::collection::vec(step(), 1..40), 1..6);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&scripts, |scripts| {
        histories.set(histories.get() + 1);
        let prefix = [Key::from(format!("{{t}}{}:", histories.get()))];
        for steps in &scripts {
            let text = format!("{SHOW}{}\nreturn r", steps.join("\n"));
            let answers = pair.both(&text, &prefix, &[Bytes::from_static(b"arg\0\xfe")]);
            // A script that missed its deadline may or may not have run, so this history proves nothing.
            let [theirs, ours] = answers.ok_or_else(|| TestCaseError::reject("a slow machine"))?;
            if theirs != ours {
                let which = differing(&theirs, &ours);
                let step = which.map_or("", |(at, _)| steps[at].as_str());
                prop_assert!(false, "Redis {theirs:?}\nours {ours:?}\nat {step}: {which:?}");
            }
            if text.contains(SHORT) {
                std::thread::sleep(OUTLIVED);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

type Differing<'a> = (usize, (&'a Reply, &'a Reply));

fn differing<'a>(theirs: &'a Result<Reply, String>, ours: &'a Result<Reply, String>) -> Option<Differing<'a>> {
    let (Ok(Reply::List(theirs)), Ok(Reply::List(ours))) = (theirs, ours) else { return None };
    theirs.iter().zip(ours).enumerate().find(|(_, (theirs, ours))| theirs != ours)
}

/// The whole keyspace, read through its commands.
const DUMP: &str = r"
local all = {}
for n = 0, 5 do
  local key = KEYS[1] .. n
  local function try(...)
    local v = redis.pcall(...)
    if type(v) == 'table' and v.err then return nil end
    return v
  end
  local parts = { tostring(redis.call('EXISTS', key)), tostring(redis.call('PTTL', key) > 5000) }
  local function add(v, sorted)
    if v then
      if sorted then table.sort(v) end
      for i = 1, #v do parts[#parts + 1] = type(v[i]) == 'table' and (v[i][1] .. table.concat(v[i][2], ';')) or tostring(v[i]) end
    end
    parts[#parts + 1] = '/'
  end
  add({ try('GET', key) })
  local h = try('HGETALL', key)
  if h then
    local flat = {}
    for i = 1, #h, 2 do flat[#flat + 1] = h[i] .. '=' .. h[i + 1] end
    add(flat, true)
  end
  add(try('ZRANGE', key, 0, -1, 'WITHSCORES'))
  add(try('XRANGE', key, '-', '+'))
  all[n + 1] = table.concat(parts, ' ')
end
return all
";

#[test]
fn a_reopened_directory_holds_the_same_keyspace() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let steps = proptest::collection::vec(step(), 1..120);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let folder = tempfile::tempdir().unwrap();
    let histories = std::cell::Cell::new(0);
    let outcome = runner.run(&steps, |steps| {
        histories.set(histories.get() + 1);
        let prefix = [Key::from(format!("p{}:", histories.get()))];
        let open = || EmbeddedEngine::open(folder.path(), &Tasks::new()).unwrap();
        let dump = |embedded: &EmbeddedEngine| embedded.run_text(DUMP, &prefix, &[]).unwrap();
        let embedded = open();
        for steps in steps.chunks(10) {
            let text = format!("{SHOW}{}\nreturn r", steps.join("\n"));
            embedded.run_text(&text, &prefix, &[Bytes::from_static(b"arg")]).unwrap();
        }
        std::thread::sleep(OUTLIVED);
        let before = dump(&embedded);
        drop(embedded);
        prop_assert_eq!(dump(&open()), before);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn time_follows_the_clock_ahead_and_back() {
    let now = Arc::new(std::sync::atomic::AtomicI64::new(5_000_001));
    let clock = Arc::clone(&now);
    let embedded = EmbeddedEngine::with_clock(Arc::new(move || clock.load(std::sync::atomic::Ordering::Relaxed)));
    let time = || embedded.run_text("return redis.call('TIME')", &[], &[]).unwrap();
    let at = |s: &'static str, us: &'static str| Reply::List(vec![Reply::Bulk(s.into()), Reply::Bulk(us.into())]);
    assert_eq!(time(), at("5", "1"));
    now.store(4_000_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(time(), at("4", "0"));
    now.store(6_000_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(time(), at("6", "0"));
}
