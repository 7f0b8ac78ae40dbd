//! Requests as chat completions, and answers as events and objects.

mod requests;
mod rules;
mod schema;
mod streams;
