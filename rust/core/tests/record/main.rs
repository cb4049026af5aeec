//! The record's state machine: every transition, every illegal one, and what must hold whatever their order.
#![cfg(test)]

mod called_off;
mod codec;
mod crashes;
mod dead;
mod entries;
mod foreign;
mod leases;
mod sequences;
mod story;
mod transitions;
