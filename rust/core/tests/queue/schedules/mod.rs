//! Schedules as their users see them, on a store in memory with paused time.

mod by_hand;
pub mod crew;
mod firing;
mod policies;
