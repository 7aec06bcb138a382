//! The kind `trivial`: as little work as a stage can be, so that what is left to measure is the engine. For
//! tests and benchmarks; lists of kinds leave it out.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::stage::{Context, Metrics, Run, Stage};

/// Writes the digest of what it reads, for measurements of the engine itself.
///
/// Reads any number of files by name and writes the BLAKE3 digest of their contents, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trivial {
    /// Whether only the first line of each file counts, so that a change below it leaves the output as it is.
    pub first_line: bool,
    /// A text that the digest begins with.
    pub salt: String,
}

impl Trivial {
    /// The digest, in hexadecimal and a newline.
    pub const DIGEST: OutputPort = OutputPort::fixed("digest", ArtifactType::File, "the digest of what was read");
}

impl Stage for Trivial {
    const NAME: &'static str = "trivial";
    const HIDDEN: bool = true;
    const INPUTS: &'static [InputPort] =
        &[InputPort { name: "files", accepts: &ArtifactType::ALL, arity: Arity::NamedOptional, doc: "what is read" }];
    const OUTPUTS: &'static [OutputPort] = &[Self::DIGEST];
}

impl Run for Trivial {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.salt.as_bytes());
        for (_, path) in context.job.named_inputs("files") {
            self.read(path, &mut hasher).with_context(|| format!("`{}` cannot be read", path.display()))?;
        }
        let path = context.output(&Self::DIGEST);
        std::fs::write(&path, format!("{}\n", hasher.finalize()))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
        Ok(Metrics::new())
    }
}

impl Trivial {
    fn read(&self, path: &Path, hasher: &mut blake3::Hasher) -> std::io::Result<()> {
        if !self.first_line {
            hasher.update_mmap(path)?;
            return Ok(());
        }
        // A line without end must not fill the memory.
        let mut line = Vec::new();
        BufReader::new(File::open(path)?).take(1 << 20).read_until(b'\n', &mut line)?;
        hasher.update(&line);
        Ok(())
    }
}
