//! The development server as its clients see it. One program: each costs half a minute of compiling and linking.
#![cfg(test)]

mod contract;
mod operations;
