//! The C side: the header, its manual, and programs in C. One program: each costs half a minute of compiling and linking.
#![cfg(test)]

mod common;
mod header;
mod manual;
mod programs;
