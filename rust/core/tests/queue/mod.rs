//! The queue as its users see it, on stores in memory with paused time.

mod board;
mod configured;
mod crowds;
mod dead_letters;
mod dead_letters_many;
mod doctor;
mod finding;
mod graph;
mod meddled;
mod outages;
mod panics;
mod parking;
mod payloads;
mod protocol;
mod quiet;
mod schedules;
mod schemas;
mod support;
mod task_life;
mod vandals;
mod waiting;
