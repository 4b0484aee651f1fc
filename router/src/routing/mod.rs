//! Which subjects exist, who asked for them, and which route decides.
//!
//! - [`Subject`] names what a message is about, [`Pattern`] what a subscriber or a route asks for;
//! - [`SubjectTemplate`] makes a subject from the fields of a record, [`Template`] a key;
//! - [`SubjectTable`] finds all who asked for a subject;
//! - [`RouteTable`] finds the one route that decides about it, and whose [`RouteGuards`] keep it within bounds.
//!
//! Everything here is plain data and decisions: no clock, no task, no socket.

mod guards;
mod pattern;
mod route;
mod route_error;
mod subject;
mod table;
mod template;

pub use self::guards::{LimitKey, RouteCanary, RouteGuards, RouteLimit};
pub use self::pattern::{Pattern, PatternError, PatternToken};
pub use self::route::{Route, RouteDestination, RouteMirror, RouteTable};
pub use self::route_error::RouteError;
pub use self::subject::{SUBJECT_BYTES, SUBJECT_TOKENS, Subject, SubjectError};
pub use self::table::SubjectTable;
pub use self::template::{Field, RenderError, SubjectTemplate, Template, TemplateError};
