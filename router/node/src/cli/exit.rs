//! How commands end.

use std::process::ExitCode;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything asked for was done.
    Success,
    /// 1: something failed or is missing; the counts are on standard error.
    Failure,
    /// 2: the command line or the node file is wrong; nothing was started.
    Usage,
    /// 69: no node could be reached.
    Unavailable,
    /// 73: an output cannot be written.
    CannotWrite,
    /// 77: a certificate, key or permission is refused.
    NotPermitted,
    /// 130: stopped by Ctrl-C before everything was done.
    Interrupted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::CannotWrite => 73,
            Self::NotPermitted => 77,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
