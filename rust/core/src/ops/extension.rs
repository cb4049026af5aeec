//! Operations of another crate, under a prefix of their own.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;

/// Operations that an engine carries besides its own.
#[async_trait]
pub trait Extension: Debug + Send + Sync + 'static {
    /// What the names of its operations begin with, such as `dev_server.`.
    fn prefix(&self) -> &'static str;

    /// Runs one of them, as [`Engine::call`](super::Engine::call) does.
    ///
    /// # Errors
    /// Whatever the operation says; [`Error::Invalid`](crate::Error::Invalid) for an unknown one.
    async fn call(&self, op: &str, request: &[u8]) -> Result<String>;

    /// Ends what it has running: the engine is closing.
    async fn shutdown(&self);
}
