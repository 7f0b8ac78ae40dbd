//! The Lua VM of the embedded engine. It gives scripts the same environment and the same conversions as Redis.

use std::{mem, sync::Arc};

use bytes::Bytes;
use mlua::{Function, IntoLua, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, Variadic};
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::keyspace::{CommandError, CommandReply, Keyspace, truncate, write_float, write_integer};
use crate::ledger::{engine::Reply, keys::Key, scripts::Script};

/// One VM over one keyspace.
pub(super) struct Vm {
    lua: Lua,
    /// Runs a compiled script: `(script, keys, args) → reply | nil, error`.
    run: Function,
    /// The environment of scripts.
    globals: Table,
    /// In the order of [`Script::ALL`].
    scripts: [Option<Function>; Script::ALL.len()],
    /// Scripts that were given as text.
    texts: FxHashMap<Box<str>, Function>,
    fields: ReplyFields,
    keyspace: Arc<Mutex<Keyspace>>,
}

/// The fields of a table that is a status or an error instead of a list.
#[derive(Clone)]
struct ReplyFields {
    err: LuaString,
    ok: LuaString,
}

impl Vm {
    pub(crate) fn new(keyspace: Keyspace) -> mlua::Result<Self> {
        let keyspace = Arc::new(Mutex::new(keyspace));
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::default())?;
        let fields = ReplyFields { err: lua.create_string("err")?, ok: lua.create_string("ok")? };
        let raw = raw_call(&lua, Arc::clone(&keyspace), fields.clone())?;
        let (pack, unpack) = doubles(&lua)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("@prelude");
        let (run, globals) = prelude.call((raw, pack, unpack))?;
        Ok(Self {
            lua,
            run,
            globals,
            scripts: [const { None }; Script::ALL.len()],
            texts: FxHashMap::default(),
            fields,
            keyspace,
        })
    }

    pub(crate) fn keyspace(&self) -> MutexGuard<'_, Keyspace> {
        self.keyspace.lock()
    }

    /// Whether this script has been run before.
    pub(crate) fn has_loaded(&self, script: Script) -> bool {
        self.scripts[script as usize].is_some()
    }

    /// Runs a script over the keyspace. An error is its code and its text.
    pub(crate) fn run(&mut self, script: Script, keys: &[Key], args: &[Bytes]) -> Result<Reply, String> {
        let compiled = if let Some(compiled) = &self.scripts[script as usize] {
            compiled.clone()
        } else {
            let compiled = self.compile(script.source())?;
            self.scripts[script as usize].insert(compiled).clone()
        };
        self.call(compiled, keys, args)
    }

    /// Runs any text as a script.
    pub(crate) fn run_text(&mut self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, String> {
        let compiled = if let Some(compiled) = self.texts.get(text) {
            compiled.clone()
        } else {
            let compiled = self.compile(text)?;
            self.texts.insert(text.into(), compiled.clone());
            compiled
        };
        self.call(compiled, keys, args)
    }

    fn compile(&self, text: &str) -> Result<Function, String> {
        // On the first line of the text, so that errors name the right lines.
        let chunk = self.lua.load(format!("local KEYS, ARGV = ... {text}")).set_name("@user_script");
        let script = chunk.into_function().map_err(|error| format!("ERR {error}"))?;
        script.set_environment(self.globals.clone()).map_err(|error| format!("ERR {error}"))?;
        Ok(script)
    }

    fn call(&self, script: Function, keys: &[Key], args: &[Bytes]) -> Result<Reply, String> {
        let call = || -> mlua::Result<Result<Reply, String>> {
            let keys = self.lua.create_sequence_from(keys.iter().map(|key| &**key))?;
            let args = self.lua.create_sequence_from(args.iter().map(|arg| Raw(arg)))?;
            let (reply, error): (Value, Option<LuaString>) = self.run.call((script, keys, args))?;
            match error {
                Some(error) => Ok(Err(error.to_string_lossy())),
                None => self.convert(reply),
            }
        };
        call().unwrap_or_else(|error| Err(format!("ERR {error}")))
    }

    /// Converts the result of a script as Redis does.
    fn convert(&self, value: Value) -> mlua::Result<Result<Reply, String>> {
        Ok(Ok(match value {
            Value::Integer(number) => Reply::Int(number),
            Value::Number(number) => Reply::Int(truncate(number)),
            Value::String(text) => Reply::Bulk(Bytes::copy_from_slice(&text.as_bytes())),
            Value::Boolean(true) => Reply::Int(1),
            Value::Table(table) => {
                if let Value::String(error) = table.raw_get(&self.fields.err)? {
                    return Ok(Err(error.to_string_lossy()));
                }
                if let Value::String(status) = table.raw_get(&self.fields.ok)? {
                    return Ok(Ok(Reply::Bulk(Bytes::copy_from_slice(&status.as_bytes()))));
                }
                let mut list = Vec::with_capacity(table.raw_len());
                for index in 1.. {
                    match table.raw_get(index)? {
                        Value::Nil => break,
                        item => match self.convert(item)? {
                            Ok(item) => list.push(item),
                            Err(error) => return Ok(Err(error)),
                        },
                    }
                }
                Reply::List(list)
            }
            // `false`, `nil`, and the types that a Redis reply cannot hold.
            _ => Reply::Nil,
        }))
    }
}

/// `redis.call` without raising errors: `(name, …) → reply`, or an error table and true.
fn raw_call(lua: &Lua, keyspace: Arc<Mutex<Keyspace>>, fields: ReplyFields) -> mlua::Result<Function> {
    lua.create_function(move |lua, args: MultiValue| {
        // All arguments share one buffer, because most of them are a few bytes long.
        let mut text = Vec::with_capacity(args.len() * 24);
        let mut ends = SmallVec::<[usize; 16]>::new();
        for arg in &args {
            match arg {
                Value::String(word) => text.extend_from_slice(&word.as_bytes()),
                Value::Integer(number) if number.unsigned_abs() < 100_000_000_000_000_000 => {
                    write_integer(&mut text, *number);
                }
                #[expect(clippy::cast_precision_loss, reason = "every number of Lua 5.1 is a double")]
                Value::Integer(number) => write_float(&mut text, *number as f64),
                Value::Number(number) => write_float(&mut text, *number),
                _ => return error(lua, &fields, "ERR Lua redis lib command arguments must be strings or integers"),
            }
            ends.push(text.len());
        }
        let mut from = 0;
        let words: SmallVec<[&[u8]; 16]> = ends.iter().map(|end| &text[mem::replace(&mut from, *end)..*end]).collect();
        let Some((name, words)) = words.split_first() else {
            return error(lua, &fields, "ERR Please specify at least one argument for this redis lib call");
        };
        match keyspace.lock().call(name, words) {
            Ok(reply) => Ok((ToLua { reply, fields: &fields }.into_lua(lua)?, Value::Nil)),
            Err(CommandError(text)) => error(lua, &fields, &text),
        }
    })
}

fn error(lua: &Lua, fields: &ReplyFields, text: &str) -> mlua::Result<(Value, Value)> {
    let table = lua.create_table()?;
    table.raw_set(&fields.err, text)?;
    Ok((Value::Table(table), Value::Boolean(true)))
}

/// Bytes that become a Lua string.
struct Raw<'a>(&'a [u8]);

impl IntoLua for Raw<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}

/// A command's reply as Lua sees it: nil is `false`, a status is a table with `ok`.
struct ToLua<'a> {
    reply: CommandReply<'a>,
    fields: &'a ReplyFields,
}

impl IntoLua for ToLua<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let fields = self.fields;
        match self.reply {
            CommandReply::Nil => Ok(Value::Boolean(false)),
            CommandReply::Int(number) => Ok(Value::Integer(number)),
            CommandReply::Bulk(text) => lua.create_string(&text[..]).map(Value::String),
            CommandReply::Ok => {
                let table = lua.create_table()?;
                table.raw_set(&fields.ok, "OK")?;
                Ok(Value::Table(table))
            }
            CommandReply::List(list) => {
                let items = list.into_iter().map(|reply| ToLua { reply, fields });
                lua.create_sequence_from(items).map(Value::Table)
            }
        }
    }
}

/// `pack` and `unpack` of Redis' `struct` library, for the one format that scripts use: little-endian doubles (`<dd…`).
fn doubles(lua: &Lua) -> mlua::Result<(Function, Function)> {
    fn count(format: &LuaString) -> mlua::Result<usize> {
        let format = format.as_bytes();
        match &*format {
            [b'<', doubles @ ..] if doubles.iter().all(|letter| *letter == b'd') => Ok(doubles.len()),
            _ => Err(mlua::Error::runtime("only little-endian doubles (`<d…`) are supported")),
        }
    }
    let pack = lua.create_function(|lua, (format, numbers): (LuaString, Variadic<f64>)| {
        let Some(numbers) = numbers.get(..count(&format)?) else {
            return Err(mlua::Error::runtime("bad argument to 'pack': number expected, got no value"));
        };
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        lua.create_string(&bytes)
    })?;
    let unpack = lua.create_function(|_, (format, text): (LuaString, LuaString)| {
        let (count, text) = (count(&format)?, text.as_bytes());
        let Some(doubles) = text.as_chunks::<8>().0.get(..count) else {
            return Err(mlua::Error::runtime("data string too short"));
        };
        #[expect(clippy::cast_precision_loss, reason = "a position in a short text")]
        let next = (count * 8 + 1) as f64;
        Ok(doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)).chain([next]).collect::<Variadic<f64>>())
    })?;
    Ok((pack, unpack))
}
