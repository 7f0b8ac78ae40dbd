//! Tests of the simulator as a whole: its HTTP surface, and its bodies against the recorded ones.

mod http;
mod wire_shapes;
