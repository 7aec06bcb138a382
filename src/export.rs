//! What leaves the store for other programs: a run as TensorBoard's event files, as runs of an MLflow server, as one
//! archive. Unaware of pipelines and of the terminal.

pub mod archive;
pub mod mlflow;
pub mod reached;
pub mod tensorboard;
