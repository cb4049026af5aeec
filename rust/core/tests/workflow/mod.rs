//! Runs of workflows through queues and workers: bodies are scripts, driven as a front would.

mod layout;
mod life;
mod pruning;
mod requests;
mod signals;
mod support;
mod trouble;
mod wishes;
