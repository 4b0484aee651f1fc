//! Which subjects exist, who asked for them, and which route decides.
//!
//! - [`Subject`] names what a message is about, [`Pattern`] what a subscriber or a route asks for;
//! - [`SubjectTemplate`] makes a subject from the fields of a record, [`Template`] a key;
//! - [`SubjectTable`] finds all who asked for a subject;
//! - [`RouteTable`] finds the one route that decides about it.
//!
//! Everything here is plain data and decisions: no clock, no task, no socket.

mod pattern;
mod route;
mod subject;
mod table;
mod template;

pub use self::pattern::{Pattern, PatternError, PatternToken};
pub use self::route::{Route, RouteDestination, RouteError, RouteGuards, RouteMirror, RouteTable};
pub use self::subject::{SUBJECT_BYTES, SUBJECT_TOKENS, Subject, SubjectError};
pub use self::table::SubjectTable;
pub use self::template::{Field, RenderError, SubjectTemplate, Template, TemplateError};
