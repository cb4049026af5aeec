//! What the simulation finds and what it promises. One program: each costs half a minute of compiling and linking.
#![cfg(test)]

mod budgets;
mod determinism;
mod protocol;
mod runs;
