//! Operations of another crate, under a prefix of their own.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::{Error, Result};

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

/// Stands for operations that were left out of this build; calling one says so, and what to do.
#[derive(Debug)]
pub struct LeftOut {
    /// What their names begin with.
    pub prefix: &'static str,
    /// The error's text.
    pub message: &'static str,
}

#[async_trait]
impl Extension for LeftOut {
    fn prefix(&self) -> &'static str {
        self.prefix
    }

    async fn call(&self, _op: &str, _request: &[u8]) -> Result<String> {
        Err(Error::Unsupported(self.message.into()))
    }

    async fn shutdown(&self) {}
}
