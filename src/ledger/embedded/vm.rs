//! The Lua VM of the embedded host: what Redis puts around a script, and its conversions, to the letter.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use mlua::{Function, IntoLua, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, Variadic};
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;

use super::keyspace::{Answer, Fault, Keyspace, truncate, write_float, write_integer};
use crate::ledger::{engine::Reply, keys::Key, scripts::Script};

/// One VM over one keyspace.
pub(super) struct Vm {
    lua: Lua,
    /// Runs a compiled script: `(script, keys, args) → reply | nil, error`.
    run: Function,
    /// What a script sees as its globals.
    globals: Table,
    /// In the order of [`Script::ALL`].
    scripts: [Option<Function>; Script::ALL.len()],
    texts: FxHashMap<Box<str>, Function>,
    names: Names,
    keyspace: Arc<Mutex<Keyspace>>,
}

/// The fields that make a table more than a list.
#[derive(Clone)]
struct Names {
    err: LuaString,
    ok: LuaString,
}

impl Vm {
    pub fn new(keyspace: Keyspace) -> mlua::Result<Self> {
        let keyspace = Arc::new(Mutex::new(keyspace));
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let names = Names { err: lua.create_string("err")?, ok: lua.create_string("ok")? };
        let raw = raw_call(&lua, Arc::clone(&keyspace), names.clone())?;
        let (fraction, reseed) = random(&lua)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("@prelude");
        let (pack, unpack) = doubles(&lua)?;
        let (run, globals) = prelude.call((raw, fraction, reseed, pack, unpack))?;
        Ok(Self { lua, run, globals, scripts: Default::default(), texts: FxHashMap::default(), names, keyspace })
    }

    pub fn keyspace(&self) -> MutexGuard<'_, Keyspace> {
        self.keyspace.lock()
    }

    /// Whether this script has been run before.
    pub fn knows(&self, script: Script) -> bool {
        self.scripts[script as usize].is_some()
    }

    /// Runs a script over the keyspace. An error is its code and words.
    pub fn run(&mut self, script: Script, keys: &[Key], args: &[Bytes]) -> Result<Reply, String> {
        let compiled = match &self.scripts[script as usize] {
            Some(compiled) => Ok(compiled.clone()),
            None => self.compile(script.source()),
        };
        let done = compiled.and_then(|compiled| {
            self.scripts[script as usize].get_or_insert_with(|| compiled.clone());
            self.call(compiled, keys, args)
        });
        done.unwrap_or_else(|error| Err(format!("ERR {error}")))
    }

    /// The same for any text.
    pub fn run_text(&mut self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, String> {
        let compiled = match self.texts.get(text) {
            Some(compiled) => Ok(compiled.clone()),
            None => self.compile(text),
        };
        let done = compiled.and_then(|compiled| {
            self.texts.insert(text.into(), compiled.clone());
            self.call(compiled, keys, args)
        });
        done.unwrap_or_else(|error| Err(format!("ERR {error}")))
    }

    fn compile(&self, text: &str) -> mlua::Result<Function> {
        // In front of the first line, so that errors name the lines as they are.
        let script =
            self.lua.load(format!("local KEYS, ARGV = ... {text}")).set_name("@user_script").into_function()?;
        script.set_environment(self.globals.clone())?;
        Ok(script)
    }

    fn call(&self, script: Function, keys: &[Key], args: &[Bytes]) -> mlua::Result<Result<Reply, String>> {
        let keys = self.lua.create_sequence_from(keys.iter().map(|key| &**key))?;
        let args = self.lua.create_sequence_from(args.iter().map(|arg| Raw(arg)))?;
        let (reply, fault): (Value, Option<LuaString>) = self.run.call((script, keys, args))?;
        match fault {
            Some(fault) => Ok(Err(fault.to_string_lossy())),
            None => self.read(reply),
        }
    }

    /// What a script answered, as Redis would send it.
    fn read(&self, value: Value) -> mlua::Result<Result<Reply, String>> {
        Ok(Ok(match value {
            Value::Integer(number) => Reply::Int(number),
            Value::Number(number) => Reply::Int(truncate(number)),
            Value::String(text) => Reply::Bulk(Bytes::copy_from_slice(&text.as_bytes())),
            Value::Boolean(true) => Reply::Int(1),
            Value::Table(table) => {
                if let Value::String(error) = table.raw_get(&self.names.err)? {
                    return Ok(Err(error.to_string_lossy()));
                }
                if let Value::String(status) = table.raw_get(&self.names.ok)? {
                    return Ok(Ok(Reply::Bulk(Bytes::copy_from_slice(&status.as_bytes()))));
                }
                let mut list = Vec::with_capacity(table.raw_len());
                for place in 1.. {
                    match table.raw_get(place)? {
                        Value::Nil => break,
                        item => match self.read(item)? {
                            Ok(item) => list.push(item),
                            Err(error) => return Ok(Err(error)),
                        },
                    }
                }
                Reply::List(list)
            }
            // `false`, nil, and what Redis has no words for.
            _ => Reply::Nil,
        }))
    }
}

/// Most commands have no more words.
const FEW: usize = 16;

/// `redis.call` without the raising: `(name, …) → reply`, or an error table and true.
fn raw_call(lua: &Lua, keyspace: Arc<Mutex<Keyspace>>, names: Names) -> mlua::Result<Function> {
    lua.create_function(move |lua, args: MultiValue| {
        // One buffer for all words, most of them a few bytes, and no list of them for the usual few.
        let mut text = Vec::with_capacity(args.len() * 24);
        let (mut few, mut many) = ([0; FEW], Vec::new());
        let ends = if args.len() <= FEW {
            &mut few[..args.len()]
        } else {
            many.resize(args.len(), 0);
            &mut many[..]
        };
        for (arg, end) in args.iter().zip(&mut *ends) {
            match arg {
                Value::String(word) => text.extend_from_slice(&word.as_bytes()),
                Value::Integer(number) if number.unsigned_abs() < 100_000_000_000_000_000 => {
                    write_integer(&mut text, *number);
                }
                #[expect(clippy::cast_precision_loss, reason = "every number of Lua 5.1 is a double")]
                Value::Integer(number) => write_float(&mut text, *number as f64),
                Value::Number(number) => write_float(&mut text, *number),
                _ => return fault(lua, &names, "ERR Lua redis lib command arguments must be strings or integers"),
            }
            *end = text.len();
        }
        let mut from = 0;
        let words = ends.iter().map(|end| &text[std::mem::replace(&mut from, *end)..*end]);
        let (mut few, mut many) = ([&[] as &[u8]; FEW], Vec::new());
        let words = if ends.len() <= FEW {
            few.iter_mut().zip(words).for_each(|(slot, word)| *slot = word);
            &few[..ends.len()]
        } else {
            many.extend(words);
            &many[..]
        };
        let Some((name, words)) = words.split_first() else {
            return fault(lua, &names, "ERR Please specify at least one argument for this redis lib call");
        };
        match keyspace.lock().call(name, words) {
            Ok(answer) => Ok((ToLua { answer, names: &names }.into_lua(lua)?, Value::Nil)),
            Err(Fault(words)) => fault(lua, &names, &words),
        }
    })
}

fn fault(lua: &Lua, names: &Names, words: &str) -> mlua::Result<(Value, Value)> {
    let table = lua.create_table()?;
    table.raw_set(&names.err, words)?;
    Ok((Value::Table(table), Value::Boolean(true)))
}

/// Bytes as a Lua string.
struct Raw<'a>(&'a [u8]);

impl IntoLua for Raw<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}

/// A command's answer as Lua sees it: what is not there is `false`, a status is a table with `ok`.
struct ToLua<'a> {
    answer: Answer<'a>,
    names: &'a Names,
}

impl IntoLua for ToLua<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let names = self.names;
        match self.answer {
            Answer::Nil => Ok(Value::Boolean(false)),
            Answer::Int(number) => Ok(Value::Integer(number)),
            Answer::Bulk(text) => lua.create_string(&text[..]).map(Value::String),
            Answer::Done => {
                let table = lua.create_table()?;
                table.raw_set(&names.ok, "OK")?;
                Ok(Value::Table(table))
            }
            Answer::List(list) => {
                let items = list.into_iter().map(|answer| ToLua { answer, names });
                lua.create_sequence_from(items).map(Value::Table)
            }
        }
    }
}

/// Of Redis' `struct` what our scripts use: `pack` and `unpack` of doubles, low byte first (`<dd…`).
fn doubles(lua: &Lua) -> mlua::Result<(Function, Function)> {
    fn count(format: &LuaString) -> mlua::Result<usize> {
        let format = format.as_bytes();
        match &*format {
            [b'<', doubles @ ..] if doubles.iter().all(|letter| *letter == b'd') => Ok(doubles.len()),
            _ => Err(mlua::Error::runtime("only doubles with their low byte first (`<d…`) are known here")),
        }
    }
    let pack = lua.create_function(|lua, (format, numbers): (LuaString, Variadic<f64>)| {
        if numbers.len() < count(&format)? {
            return Err(mlua::Error::runtime("bad argument to 'pack': number expected, got no value"));
        }
        let bytes: Vec<u8> = numbers[..count(&format)?].iter().flat_map(|number| number.to_le_bytes()).collect();
        lua.create_string(&bytes)
    })?;
    let unpack = lua.create_function(|_, (format, text): (LuaString, LuaString)| {
        let (count, text) = (count(&format)?, text.as_bytes());
        let (doubles, _) = text.as_chunks::<8>();
        if doubles.len() < count {
            return Err(mlua::Error::runtime("data string too short"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a place in a short text")]
        let next = (count * 8 + 1) as f64;
        Ok(doubles[..count].iter().map(|bytes| f64::from_le_bytes(*bytes)).chain([next]).collect::<Variadic<f64>>())
    })?;
    Ok((pack, unpack))
}

/// The generator of Redis' scripts (`lrand48`): a fraction of 1, and its seeding.
fn random(lua: &Lua) -> mlua::Result<(Function, Function)> {
    const BITS: u64 = (1 << 48) - 1;
    const MAX: u64 = i32::MAX as u64;
    let state = Arc::new(AtomicU64::new(0x1234_ABCD_330E));
    let seeded = Arc::clone(&state);
    let fraction = lua.create_function(move |_, ()| {
        let next = state.load(Ordering::Relaxed).wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & BITS;
        state.store(next, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "31 bits")]
        Ok(((next >> 17) % MAX) as f64 / MAX as f64)
    })?;
    let reseed = lua.create_function(move |_, seed: f64| {
        let seed = truncate(seed).cast_unsigned() & u64::from(u32::MAX);
        seeded.store((seed << 16) | 0x330E, Ordering::Relaxed);
        Ok(())
    })?;
    Ok((fraction, reseed))
}
