//! The four ways in which a call to a server can fail. Each store crate decides the class once, beside its driver and
//! on codes; the services decide what to do about it.

/// What a failure means for whoever made the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// It goes away by itself: the same call may succeed in a moment.
    Transient,
    /// The server, or our own pool in front of it, has no room: pause before the next call.
    Saturated,
    /// This one datum can never succeed; its neighbours can.
    Poison,
    /// Nothing succeeds until somebody changes something (a grant, a schema, a setting): hold and alarm.
    Fatal,
}

impl FailureClass {
    /// The name in logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Saturated => "saturated",
            Self::Poison => "poison",
            Self::Fatal => "fatal",
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
