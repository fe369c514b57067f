//! How a command fails, and with which exit code.
//!
//! Two classes meet here: what is wrong with one unit never arrives (a bad record is an event, a refused
//! alert an entry); what arrives stops the command.

use crate::trail::TrailError;
use crate::yaml::Problem;
use std::fmt;

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// The command line itself, exit 2.
    Usage(String),
    /// Configuration or policies, exit 78.
    Config(Vec<Problem>),
    /// The trail.
    Trail(TrailError),
    /// Something else that the system refused, exit 3.
    Runtime(String),
}

impl Failure {
    /// The exit code (DESIGN: 2 usage, 3 I/O and runtime, 4 trail damaged, 78 configuration).
    pub fn exit(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Config(_) | Failure::Trail(TrailError::Setup(_)) => 78,
            Failure::Trail(TrailError::Refused { .. }) => 4,
            Failure::Trail(_) | Failure::Runtime(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) | Failure::Runtime(what) => f.write_str(what),
            Failure::Trail(error) => write!(f, "{error}"),
            Failure::Config(problems) => {
                for (place, problem) in problems.iter().enumerate() {
                    if place > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<TrailError> for Failure {
    fn from(error: TrailError) -> Failure {
        Failure::Trail(error)
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Failure {
        Failure::Config(problems)
    }
}
