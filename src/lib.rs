//! The engine and the command line of `pacer`: runs pipelines of cached stages, and says why. Knows nothing of
//! heart rates and nothing of LibTorch.
//!
//! # Flow
//!
//! ```text
//! TOML text → spec → resolve → graph → engine ⇄ executor → cache → store
//!                                        ↓ events
//!                                   journal, ui
//! ```
//!
//! Data flows one way. The text of a pipeline becomes a tree of values that remember where they stand ([`spec`]);
//! the tree becomes a graph in which every name, type and parameter is right, or all of its faults at once
//! ([`resolve`], [`graph`]). The [`engine`] goes through the graph. As soon as a stage's producers are done, its key
//! record is made from the digests of their content and looked up, in the pipeline's [`index`] first and then in the
//! [`cache`]; a miss becomes a job, which the [`executor`] runs on a thread or in a worker process. What the job wrote
//! is taken into the store; its consumers go on while the result gets to the disk. All that happens is an [`event`],
//! which goes to the [`journal`] and to the [`ui`] alike.
//!
//! What a stage is, which kinds there are and what they compute is in the crate `pacer_stages`, which knows nothing of
//! this one. What needs LibTorch is in `pacer_torch`, the program `pacer-worker`: only that links LibTorch, so that
//! this program starts in milliseconds and a crash there takes down one stage and not the run.
//!
//! # Modules, in reading order
//!
//! Leaves, which import nothing or nearly nothing:
//! - [`digest`]: a BLAKE3 digest as a type.
//! - [`hash`]: digests of files, also of those that are cut short meanwhile.
//! - [`fresh`]: paths as they are by now, on NFS too.
//! - [`diagnostic`]: a fault of a pipeline as data: what, where, and what would be right.
//! - [`event`]: what happens in a run, as data.
//! - [`lock`]: kernel locks on files, held by one or shared by many.
//!
//! From text to graph:
//! - [`spec`]: TOML as a tree of values with their places.
//! - [`profile`]: what belongs to a machine or a project rather than to a pipeline: where results are shared,
//!   which clusters there are.
//! - [`graph`]: the checked graph of stages; unaware of TOML, of keys and of running.
//! - [`resolve`]: makes the one from the other; the only place that does. Here a sweep becomes trials, which from then
//!   on are stages like any other.
//! - [`search`]: which trials come next, from the figures of those that are done; [`search::decisions`] tells whether
//!   what was decided still rests on these.
//! - [`schema`]: the JSON Schema of a pipeline, for editors.
//! - [`leakage`]: whether models have seen what they are scored on, from the graph and from the data.
//!
//! What is remembered:
//! - [`key`]: the encoding of a key record, and the differences between two; one walk serves both.
//! - [`store`]: files that get in whole or not at all.
//! - [`stat_cache`]: digests of input files, believed while `stat` tells the same.
//! - [`remote`]: a folder or a bucket where stores share what they made; knows names and bytes.
//! - [`cache`]: a record in, a result or the right to make it out; [`cache::afar`] knows results whose blobs lie in the
//!   remote, [`cache::push`] puts results there.
//! - [`journal`]: the events, summary and logs of each run; which runs live, and which are pinned.
//! - [`index`]: the last results of a pipeline, stage by stage, so that a run with nothing to do reads one file.
//! - [`recipe`]: what it takes to make a run again, and what its checks for leaks came to.
//! - [`lockfile`]: keys and digests as a text beside the pipeline, for version control.
//! - [`care`]: `verify`; in [`care::collect`] `gc`, beside runs that go on; in [`care::remote`] that of a remote.
//!
//! What is told afterwards:
//! - [`history`]: the runs, how they stand, and the best error that each came to.
//! - [`compare`]: configurations and artifacts side by side, as data; [`compare::provenance`] knows what each artifact
//!   was made from, and so which trainings differ in their seed alone.
//!
//! What is done:
//! - [`executor`]: one description of a job, for a thread and for a worker process; what the machine has.
//! - [`cluster`]: the same jobs on nodes of Slurm: a spool in the store, pilots that take from it, and what the run does
//!   about them.
//! - [`engine`]: [`records`](engine::records) makes key records, [`plan`](engine::plan) decides without doing,
//!   [`reason`](engine::reason) explains, [`forward`](engine::forward) looks ahead, [`agenda`](engine::agenda) decides
//!   what comes next and [`run`](engine::run) does it, [`courses`](engine::courses) orders trainings of which one is the
//!   beginning of the other, [`rounds`](engine::rounds) goes on with searches, [`rerun`](engine::rerun) runs a stage again
//!   to compare bits.
//! - [`export`]: results for other programs: event files, an MLflow server, an archive.
//! - [`report`]: runs as one page, Markdown or JSON, from stored results alone.
//! - [`serve`]: the same pages over HTTP, live while a run goes on; it only reads, and nothing else needs it.
//! - [`ui`]: the only part that writes to the terminal; results on stdout, progress on stderr.
//! - [`cli`]: the commands; each calls one operation of the above. `main.rs` only calls it.
//!
//! Which module may import which stands as a table in `tests/stories/tidy.rs`, and that test holds it.
//!
//! # Invariants
//!
//! Deciding:
//! - A graph that exists is right: its names, types, parameters and input files were checked before anything runs.
//! - A key holds all that can change a result and nothing else that the engine knows: no name of a stage, path,
//!   comment, number of threads, index of a device, rhythm of checkpoints, time, user or host.
//! - A key is a digest of the digests of its record's entries, so that what stages share is hashed once.
//! - An explanation and a decision are made from the same record by the same walk.
//! - The index and the remembered digests of inputs decide nothing: each file has its own checksum, an entry is
//!   believed only while `stat` tells of its file what it told then, and without them every stage is reused or run all
//!   the same. The index is also what explanations compare with.
//!
//! Keeping:
//! - A result is committed by one rename, after all that it names has been written and synced. Where there is no
//!   result file, nothing was done, whatever else lies there. Consumers may read an artifact before it is synced, and
//!   be committed before its own result is: they name it by its content, not by that result.
//! - Only the holder of a key's lock, a [`cache::Ticket`], can commit. A kernel lock ends with its process, so
//!   nothing is left for a person to delete.
//! - Blobs are named by their content and never changed. For one key the first result stays; a second one with other
//!   bytes is told, and its record is kept beside the first.
//! - A damaged or missing blob is a miss, never an error; a hit has every blob, each of the right size, or it is *afar*:
//!   the remote was found to hold its result, which lies in `afar/` apart from the others. A blob of such a hit is
//!   brought when it is wanted. What cannot be brought, or is not what its name says, makes the hit a miss: its stage
//!   runs here, in the same run. So a remote can save work and never cost a result.
//! - Into a remote go the blobs of a result first and the result last. Both are named by what they are, so that it
//!   does no harm when two put the same, and nothing rests on a server that keeps the first of two.
//! - A failed or killed stage leaves the results of all others as they are.
//! - A collection takes nothing that a living, recent or pinned run reached or began to make. A run holds collections
//!   off ([`store::Store::hold_off_collections`]) from finding or placing a result until that stands in its journal or
//!   in the store; between these moments both go on side by side.
//!
//! Training:
//! - A course is all that decides how a training goes, without how far: its record less the patience and, where the
//!   schedule does not look at the end, the last epochs. Trainings of one course share a folder of states, one at a
//!   time, in a run the shorter first; each goes on from the furthest state that it would itself have come by. On a
//!   processor this changes no bit of the result.
//! - A state is written whole, under a checksum; a damaged one gives way to the one before it.
//!
//! Sweeps:
//! - A trial's draw is a function of seed, trial and parameter; a search's decision is one of the figures of all trials
//!   before, and holds while these are the figures of today. A sweep that is killed and run again comes to the same
//!   trials and runs the missing ones; on other data it decides anew.
//! - A failed trial is remembered under its key and passed over. A run fails only where a stage failed that is no trial,
//!   where no trial of a sweep succeeded, or where one was made and handed on, and could not be kept.
//!   What failed for a passing reason (a full disk, a worker of another build) is not remembered.
//! - A worker process that took a job goes on to the next of its device; one in which something broke does not.
//!
//! # What is not guaranteed
//!
//! - That a key sees everything. It does not see: programs on the PATH and files that a `command` stage reads without
//!   having wired them; environment variables that no stage declares; libraries below those that the code of a kind
//!   names, the compiler, the C library; differences of hardware within one numeric class; numbers of threads, where a
//!   program's result depends on them.
//! - That a hit's bytes are intact: a hit looks at sizes and, by way of the index, at the result file's time stamps;
//!   `verify` looks at bytes.
//! - That a file is read again whose inode, size and time stamps stayed the same.
//! - Equal bytes on different types of processor, or on a GPU; `verify --rerun` compares.
//! - That a stage runs at most once in the world: two processes on one store wait for each other, two stores do not.
//! - That what no recent or pinned run reached stays: `gc` may free it.
//! - That a collection of a remote spares a push that takes longer than its grace.
//! - That a consumer's result means that its producer's is there: after a power cut, or where the producer's result could
//!   not be kept, which fails the run, the producer has to run again.
//! - The form of files below the store. Scripts rely on `--format json` and on exit codes.
#![doc = include_str!("threat_model.md")]
#![doc = include_str!("planning.md")]

pub mod cache;
pub mod care;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod diagnostic;
pub mod digest;
pub mod engine;
pub mod event;
pub mod executor;
pub mod export;
pub mod fresh;
pub mod graph;
pub mod hash;
pub mod history;
pub mod index;
pub mod journal;
pub mod key;
pub mod leakage;
pub mod lock;
pub mod lockfile;
pub mod profile;
pub mod recipe;
pub mod remote;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod search;
pub mod serve;
pub mod spec;
pub mod stat_cache;
pub mod store;
pub mod ui;
