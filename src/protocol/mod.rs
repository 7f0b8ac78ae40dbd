//! Client protocols, one folder for each: what its requests mean, and how its replies are written. Pure: no I/O.

pub mod chat;
