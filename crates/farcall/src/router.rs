//! What a server's methods look like from outside.

/// A service as it stands, for people and dashboards.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct ServiceSnapshot {
    /// The service's name.
    pub name: String,
    /// What its author says about it.
    pub doc: String,
    /// Its methods, sorted by name.
    pub methods: Vec<MethodSnapshot>,
}

/// A method as it stands. Counts are since the server began.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct MethodSnapshot {
    /// The method's name, without its service's.
    pub name: String,
    /// What its author says about it.
    pub doc: String,
    /// The argument's type as Go would write it: `Args{A int; B int}`.
    pub args: String,
    /// The reply's type.
    pub reply: String,
    /// Calling it again does no harm.
    pub idempotent: bool,
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// Calls that run now.
    pub in_flight: u64,
}
