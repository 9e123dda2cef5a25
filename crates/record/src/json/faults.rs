//! A bounded list of faults, and where in a body we are.
//!
//! Must never grow with the body: past a hundred only one more says that there are more.

use std::fmt;

use crate::fault::{Fault, FaultCode};
use crate::scalar::Refusal;

/// As many faults as anybody reads.
const MOST: usize = 100;
/// A client's own member names stand in pointers; a hostile one is cut.
const MOST_OF_A_NAME: usize = 128;

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn push(&mut self, pointer: String, refusal: Refusal) {
        match self.0.len() {
            length if length < MOST => {
                self.0.push(Fault { pointer, code: refusal.code, detail: refusal.detail.into_owned() });
            }
            MOST => self.0.push(Fault {
                pointer: String::new(),
                code: FaultCode::TooMany,
                detail: format!("more than {MOST} faults; these are the first"),
            }),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    pub(crate) fn append(&mut self, other: Faults) {
        for fault in other.0 {
            self.push(fault.pointer, Refusal::new(fault.code, fault.detail));
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}

/// An RFC 6901 pointer that is walked down and up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn of(member: &str) -> Pointer {
        let mut pointer = Pointer::default();
        pointer.enter(member);
        pointer
    }

    /// Goes down to a member; `leave` with the result comes back.
    pub(crate) fn enter(&mut self, member: &str) -> usize {
        let mark = self.0.len();
        self.0.push('/');
        for c in member.chars().take(MOST_OF_A_NAME) {
            match c {
                '~' => self.0.push_str("~0"),
                '/' => self.0.push_str("~1"),
                _ => self.0.push(c),
            }
        }
        mark
    }

    pub(crate) fn enter_index(&mut self, index: usize) -> usize {
        self.enter(&index.to_string())
    }

    pub(crate) fn leave(&mut self, mark: usize) {
        self.0.truncate(mark);
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
