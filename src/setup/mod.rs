//! What coding agents and other tools need to know to use a gateway: their files, formats and environment, as one table.
//!
//! The command line, the page `/setup`, its scripts and the documentation are made from it. Nothing here reads or writes a
//! file.

mod edit;
mod file;
mod gateway;
mod others;
mod script;
mod target;
mod tools;
mod value;

pub(crate) use edit::{Change, EditError, Format, new_text};
pub(crate) use file::{Content, ToolFile};
pub(crate) use gateway::{Gateway, Offer, root_of};
pub(crate) use others::{OTHERS, filled};
pub(crate) use script::{VARIABLES, lines};
pub(crate) use target::{KEY_VARIABLE, Places, System, Target};
pub(crate) use tools::{TOOLS, Tool, tool};

#[cfg(test)]
mod tests;
