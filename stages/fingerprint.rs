//! The code fingerprints of kinds and of the checks for leaks, made by the build script. Unaware of keys.

/// A name, the digest of its code, and the digest or version of each part of it.
type Fingerprint = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

static FINGERPRINTS: &[Fingerprint] = include!(concat!(env!("OUT_DIR"), "/fingerprints.rs"));

/// The digest of all the code that a kind's result depends on.
pub fn of(kind: &str) -> Option<&'static str> {
    entry(kind).map(|(_, whole, _)| *whole)
}

/// The digest of all the code that what the checks for leaks find depends on.
pub fn of_checks() -> &'static str {
    of("leakage").expect("the build script made it")
}

/// The modules and libraries behind [`of`], each with its own digest or version.
pub fn parts(kind: &str) -> &'static [(&'static str, &'static str)] {
    entry(kind).map_or(&[], |(_, _, parts)| parts)
}

fn entry(kind: &str) -> Option<&'static Fingerprint> {
    FINGERPRINTS.iter().find(|(name, _, _)| *name == kind)
}
