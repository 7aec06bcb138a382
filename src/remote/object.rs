//! What is told of the objects of a remote, what is put, and why something does not come about: data. Unaware of how
//! either comes.

use std::path::Path;
use std::time::Duration;

use crate::remote::folder::Body;
use crate::remote::meter::Meter;

/// Why something did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody answers.
    Unreachable(String),
    /// Somebody is there, but takes too long.
    Slow(String),
    /// It may work the next time.
    Passing(String),
    /// Somebody is there, and wants not to be asked for so long.
    Busy(String, Duration),
    /// It is not told whether it is there or what it holds, which says nothing of other objects.
    Hidden(String),
    /// It will not work, however often it is tried.
    Refused(String),
}

impl Fault {
    /// Its words.
    pub fn why(&self) -> &str {
        match self {
            Self::Unreachable(why)
            | Self::Slow(why)
            | Self::Passing(why)
            | Self::Busy(why, _)
            | Self::Hidden(why)
            | Self::Refused(why) => why,
        }
    }
}

/// What is told of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its size.
    pub bytes: u64,
    /// How long ago it was put there.
    pub age: Duration,
}

/// An object of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What is told of it.
    pub seen: Seen,
}

/// An object that is being read.
pub struct Reading {
    /// The byte that comes first.
    pub from: u64,
    /// The bytes from there on.
    pub body: Body,
}

/// What is put.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A file.
    File {
        /// Where it lies.
        path: &'a Path,
        /// Its size.
        bytes: u64,
        /// Told how far it was sent.
        meter: &'a Meter,
    },
}

/// What becomes of an object of the same name. That it is kept is promised by no server; it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is kept.
    Keep,
    /// It is replaced.
    Replace,
}
