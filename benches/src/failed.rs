//! What whoever runs a plain bench is told when it cannot go on.

use std::fmt;

/// A step that did not succeed, and why. Whoever runs the bench reads it.
#[derive(Debug)]
pub struct Failed {
    step: String,
    reason: String,
}

impl Failed {
    /// What was done, and why it did not succeed.
    #[must_use]
    pub fn new(step: &str, reason: impl fmt::Display) -> Self {
        Self {
            step: step.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// For `map_err`: names the step.
    pub fn at<E: fmt::Display>(step: &str) -> impl FnOnce(E) -> Self + '_ {
        move |reason| Self::new(step, reason)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.reason)
    }
}

impl std::error::Error for Failed {}
