//! A process of `bench node` and `bench link`, which its parent tells what it is.

use std::time::SystemTime;

use super::super::connection::credentials;
use super::super::{Exit, session};
use crate::bench::node::child::{self, ChildError};
use crate::bench::node::talk;

/// Does what the parent says.
pub(super) fn run() -> Exit {
    let (task, orders) = match talk::listen() {
        Ok(listening) => listening,
        Err(error) => {
            eprintln!("{error}; this command is for `bench node` and `bench link`");
            return Exit::Usage;
        }
    };
    let (identity, trust) = (task.identity.as_deref(), task.trust.as_deref());
    let credentials = match credentials(identity, trust, &task.name, SystemTime::now()) {
        Ok(credentials) => credentials,
        Err(error) => {
            eprintln!("{error}");
            return Exit::NotPermitted;
        }
    };
    session::block_on(async move {
        match child::run(&task, &credentials, orders).await {
            Ok(()) => Exit::Success,
            Err(error) => {
                eprintln!("{error}");
                match error {
                    ChildError::Connect(_) | ChildError::Node(_) => Exit::Unavailable,
                    _ => Exit::Failure,
                }
            }
        }
    })
}
