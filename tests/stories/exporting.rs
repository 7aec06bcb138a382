//! Results leave for other programs and other machines, and are there what they were here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Project, TRAINING, chain};
use crate::python;

/// [`TRAINING`] of a few epochs with an evaluation, run to its end.
fn trained() -> Project {
    let evaluate = "\n[stages.evaluate]\nkind = \"evaluate\"\ninputs.sequences = \"resample\"\ninputs.split = \"split\"\n\
                    inputs.models = { lstm = \"lstm\", gru = \"gru\" }\n";
    let project = Project::new(&(TRAINING.replace("epochs = 100", "epochs = 3") + evaluate));
    let done = project.run(&[]);
    assert_eq!(done["failed"], 0, "{done}");
    project
}

/// Exports something of the pipeline to a file of the project.
fn export(project: &Project, sort: &str, what: &str, to: &str) {
    let said = project.pacer(&["export", sort, "pipeline.toml", what, "--out", to]);
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn predictions_and_tables_leave_as_parquet_and_as_csv() {
    let project = trained();
    export(&project, "predictions", "evaluate", "p.csv");
    export(&project, "predictions", "evaluate.predictions", "p.parquet");
    export(&project, "table", "filter", "funnel.csv");
    export(&project, "table", "lstm.history", "history.csv");
    let csv = fs::read_to_string(project.path("p.csv")).unwrap();
    assert!(csv.starts_with("model,workout,user,time_s,truth,prediction,low,high\nconstant,"), "{}", &csv[..200]);
    assert!(fs::read(project.path("p.parquet")).unwrap().starts_with(b"PAR1"));
    assert_eq!(fs::read_to_string(project.path("history.csv")).unwrap().lines().count(), 1 + 4);
    for (sort, what, to, word) in [
        ("predictions", "evaluate", "p.xlsx", ".parquet or .csv"),
        ("predictions", "lstm", "p.csv", "writes no predictions"),
        ("model", "lstm.history", "m.safetensors", "lstm.model"),
        ("model", "lstm", "m.pt", ".safetensors"),
    ] {
        let said = project.pacer(&["export", sort, "pipeline.toml", what, "--out", to]);
        assert!(said.code == 2 && said.err.contains(word), "{sort} {what}: {}", said.err);
    }
    if let Some(python) = python::with("pandas", "Parquet read by pandas") {
        let script = "import sys, pandas as p; a, b = p.read_parquet(sys.argv[1]), p.read_csv(sys.argv[2]); \
                      print(len(a) == len(b), (a.prediction - b.prediction).abs().max() < 1e-4, list(a) == list(b))";
        let paths = ["p.parquet", "p.csv"].map(|name| project.path(name).display().to_string());
        assert_eq!(python.run(&["-c", script, &paths[0], &paths[1]]), "True True True\n");
    }
}

#[test]
fn a_model_in_pytorch_predicts_what_it_predicts_here() {
    let Some(python) = python::with("torch", "a model loaded into PyTorch") else { return };
    let project = trained();
    export(&project, "predictions", "evaluate", "p.csv");
    assert_eq!(project.pacer(&["show", "pipeline.toml", "resample", "--export", "s.safetensors"]).code, 0);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/load_model.py").display().to_string();
    for model in ["lstm", "gru"] {
        let file = format!("{model}.safetensors");
        export(&project, "model", model, &file);
        let paths = [file.as_str(), "s.safetensors"].map(|name| project.path(name).display().to_string());
        let said = python.run(&[&script, &paths[0], &paths[1]]);
        let theirs = by_sample(&said, [0, 1, 2]);
        let csv = fs::read_to_string(project.path("p.csv")).unwrap();
        let ours: String =
            csv.lines().filter(|line| line.starts_with(&format!("{model},"))).map(|line| format!("{line}\n")).collect();
        let ours = by_sample(&format!("\n{ours}"), [1, 3, 5]);
        assert!(ours.len() > 50, "{}", ours.len());
        let worst = ours.iter().map(|(sample, rate)| ((theirs[sample] - rate) / rate).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{model}: relative difference {worst:e}");
    }
}

/// Rates by workout and time, from the columns that hold the three; the first line is a header.
fn by_sample(csv: &str, [workout, time, rate]: [usize; 3]) -> BTreeMap<(String, String), f64> {
    let rows = csv.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split(',').collect();
        let time: f64 = cells[time].parse().unwrap();
        ((cells[workout].to_owned(), format!("{time:.2}")), cells[rate].parse().unwrap())
    });
    rows.collect()
}

#[test]
fn a_run_is_read_by_the_reader_of_tensorboard() {
    let project = trained();
    let said = project.pacer(&["export", "tensorboard", "latest", "--out", "tb"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let run = fs::read_dir(project.path("tb")).unwrap().flatten().next().unwrap().path();
    let again = project.pacer(&["export", "tensorboard", run.file_name().unwrap().to_str().unwrap(), "--out", "tb2"]);
    assert_eq!(again.code, 0, "{}", again.err);
    let bytes = |top: &str, stage: &str| {
        let folder = project.path(top).join(run.file_name().unwrap()).join(stage);
        fs::read(fs::read_dir(folder).unwrap().flatten().next().unwrap().path()).unwrap()
    };
    assert_eq!(bytes("tb", "lstm"), bytes("tb2", "lstm"), "the same run, the same bytes");
    let Some(python) = python::with("tensorboard", "event files read by TensorBoard") else { return };
    let script = "import sys\nfrom tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n\
                  events = EventAccumulator(sys.argv[1])\nevents.Reload()\ntags = events.Tags()\n\
                  print(sorted(tags['scalars'])[:2], [e.step for e in events.Scalars('validation_mae_bpm')])\n\
                  print(tags['tensors'], events.Tensors('parameters/text_summary' if 'parameters/text_summary' in tags['tensors'] else 'parameters')[0].tensor_proto.string_val[0].decode()[:21])\n";
    let said = python.run(&["-c", script, &run.join("lstm").display().to_string()]);
    assert_eq!(said, "['figures/best_epoch', 'figures/epochs'] [0, 1, 2, 3]\n['parameters'] | parameter | value |\n");
}

#[test]
fn a_run_is_logged_by_a_real_mlflow_server() {
    let Some(python) = python::with("mlflow", "a run logged by an MLflow server") else { return };
    let project = trained();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", &port, "--workers", "1"];
    let mut server = python.start(&project.path(""), &server);
    let uri = format!("http://127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(120);
    let logged = loop {
        let said = project.pacer(&["export", "mlflow", "latest", "--uri", &uri]);
        if said.code == 0 || Instant::now() > deadline || !said.err.contains("does not answer") {
            break said;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let again = project.pacer(&["export", "mlflow", "latest", "--uri", &uri]);
    let script = "import sys, mlflow\nclient = mlflow.MlflowClient(sys.argv[1])\n\
                  experiment = client.get_experiment_by_name('pipeline').experiment_id\n\
                  for run in sorted(client.search_runs([experiment]), key=lambda run: run.info.run_name):\n\
                  \x20   history = client.get_metric_history(run.info.run_id, 'epoch/validation_mae_bpm')\n\
                  \x20   print(run.info.run_name[:4], run.info.status, run.data.params.get('hidden'), len(history), \
                  'evaluate/lstm/mae' in run.data.metrics)\n";
    let read = (logged.code == 0).then(|| python.run(&["-c", script, &uri]));
    crate::harness::signal(i32::try_from(server.id()).unwrap(), libc::SIGTERM);
    let _ = server.wait();
    assert_eq!(logged.code, 0, "{}", logged.err);
    assert!(again.code == 2 && again.err.contains("is there already"), "{}", again.err);
    let read = read.unwrap();
    let lines: Vec<_> = read.lines().collect();
    assert!(lines[0].ends_with("FINISHED None 0 True"), "{read}");
    assert_eq!(lines[1..], ["gru FINISHED 8 4 False", "lstm FINISHED 8 4 False"], "{read}");
}

#[test]
fn a_token_goes_to_no_other_machine_and_is_never_printed() {
    let project = chain();
    assert_eq!(project.run(&[])["failed"], 0);
    let mut command = project.command(&["export", "mlflow", "latest", "--uri", "http://mlflow.example.org:5000"]);
    let said = crate::harness::said(&command.env("MLFLOW_TRACKING_TOKEN", "s3cret").output().unwrap());
    assert!(said.code == 2 && said.err.contains("tunnel") && !said.err.contains("s3cret"), "{}", said.err);
    let mut command = project.command(&["export", "mlflow", "latest", "--uri", "http://127.0.0.1:1"]);
    let said = crate::harness::said(&command.env("MLFLOW_TRACKING_TOKEN", "s3cret").output().unwrap());
    assert!(said.code == 2 && said.err.contains("does not answer") && !said.err.contains("s3cret"), "{}", said.err);
}

#[test]
fn a_run_is_carried_to_another_store_and_is_whole_there() {
    let project = trained();
    let digests = project.digests(&["pipeline.toml"]);
    for name in ["one.zip", "two.zip"] {
        let said = project.pacer(&["export", "archive", "latest", "--out", name]);
        assert_eq!(said.code, 0, "{}", said.err);
    }
    assert_eq!(fs::read(project.path("one.zip")).unwrap(), fs::read(project.path("two.zip")).unwrap());
    assert_eq!(project.pacer(&["unpack", "one.zip"]).code, 2, "which store has to be said");
    let carried = project.path("carried").display().to_string();
    let said = project.pacer(&["unpack", "one.zip", "--store", &carried]);
    assert_eq!(said.code, 0, "{}", said.err);
    let verified = project.pacer(&["verify", "--store", &carried]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    fs::remove_dir_all(project.path("store")).unwrap();
    fs::rename(project.path("carried"), project.path("store")).unwrap();
    assert_eq!(project.digests(&["pipeline.toml"]), digests, "all of it can be reused");
}

#[test]
fn an_archive_that_was_tampered_with_is_refused() {
    let project = chain();
    assert_eq!(project.run(&[])["failed"], 0);
    assert_eq!(project.pacer(&["export", "archive", "latest", "--out", "a.zip"]).code, 0);
    let bytes = fs::read(project.path("a.zip")).unwrap();
    let store = project.path("other").display().to_string();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        fs::write(project.path("b.zip"), changed).unwrap();
        let said = project.pacer(&["unpack", "b.zip", "--store", &store]);
        said.assert_orderly(&format!("byte {at}"));
    }
    let verified = project.pacer(&["verify", "--store", &store]);
    assert!(verified.code == 0 || !verified.out.contains("blob"), "what is wrong went in: {}", verified.out);
}
