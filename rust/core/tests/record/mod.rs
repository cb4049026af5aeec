//! The record: every transition, every illegal one, what must hold whatever their order, and how it is stored.

mod called_off;
mod codec;
mod crashes;
mod dead;
mod entries;
mod foreign;
mod leases;
mod links;
mod object_layout;
mod parking;
mod sequences;
mod story;
mod transitions;
