//! `train` and `explain` work on files or on a detector of the cluster: which, the arguments say. What one of the two
//! needs is not required where the other is meant.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::detector::TrainDetector;
use super::incident::ExplainDetector;
use super::{explain, train};

/// The argument that means a detector.
const DETECTOR: &str = "detector";

/// What is trained from.
#[derive(Debug)]
pub enum Train {
    /// Files.
    Files(train::Train),
    /// A detector's Prometheus.
    Detector(TrainDetector),
}

/// Whose incident is drawn.
#[derive(Debug)]
pub enum Explain {
    /// One in files.
    Files(explain::Explain),
    /// One of a detector.
    Detector {
        /// Whose.
        detector: ExplainDetector,
        /// Which; without it, the newest.
        incident: Option<String>,
        /// Where the picture is written.
        out: PathBuf,
    },
}

/// Adds the arguments of both: those named in `files` are required without a detector, those in `detector` with one.
fn both<F: Args, D: Args>(command: Command, files: &[&'static str], detector: &[&'static str]) -> Command {
    let mut command = F::augment_args(command);
    for name in files {
        command = command.mut_arg(name, |argument| argument.required(false).required_unless_present(DETECTOR));
    }
    let mut command = D::augment_args(command).mut_arg(DETECTOR, |argument| argument.required(false));
    for name in detector {
        command = command.mut_arg(name, |argument| argument.required(false));
    }
    command
}

impl Args for Train {
    fn augment_args(command: Command) -> Command {
        both::<train::Train, TrainDetector>(command, &["input", "output"], &["model_name", "model_store"])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Train {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        if matches.contains_id(DETECTOR) {
            TrainDetector::from_arg_matches(matches).map(Self::Detector)
        } else {
            train::Train::from_arg_matches(matches).map(Self::Files)
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|new| *self = new)
    }
}

impl Args for Explain {
    fn augment_args(command: Command) -> Command {
        both::<explain::Explain, ExplainDetector>(command, &["input", "model"], &["model_store"])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Explain {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        if matches.contains_id(DETECTOR) {
            let missing = || Error::new(clap::error::ErrorKind::MissingRequiredArgument);
            Ok(Self::Detector {
                detector: ExplainDetector::from_arg_matches(matches)?,
                incident: matches.get_one::<String>("incident").cloned(),
                out: matches.get_one::<PathBuf>("out").cloned().ok_or_else(missing)?,
            })
        } else {
            explain::Explain::from_arg_matches(matches).map(Self::Files)
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|new| *self = new)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct TrainCommand {
        #[command(flatten)]
        train: Train,
    }

    #[derive(Debug, Parser)]
    struct ExplainCommand {
        #[command(flatten)]
        explain: Explain,
    }

    fn train(arguments: &str) -> Result<Train, Error> {
        TrainCommand::try_parse_from(format!("train {arguments}").split_whitespace()).map(|parsed| parsed.train)
    }

    fn explain(arguments: &str) -> Result<Explain, Error> {
        ExplainCommand::try_parse_from(format!("explain {arguments}").split_whitespace()).map(|parsed| parsed.explain)
    }

    #[test]
    fn a_detector_or_files_are_meant_and_each_needs_its_own() {
        for detector in ["--detector shop/orders", "--detector shop/orders --model-name m"] {
            assert!(matches!(train(&format!("{detector} --model-store s3://models")), Ok(Train::Detector(_))));
        }
        assert!(matches!(train("--input a.csv --output m"), Ok(Train::Files(_))));
        for incomplete in ["", "--input a.csv", "--output m", "--detector shop/orders"] {
            assert!(train(incomplete).is_err(), "{incomplete}");
        }
        assert!(matches!(explain("shop/orders --model-store s3://models --out i.svg"), Ok(Explain::Detector { .. })));
        assert!(matches!(explain("--model m --input a.csv --out i.svg"), Ok(Explain::Files(_))));
        for incomplete in ["", "shop/orders --model-store s3://models", "--model m --out i.svg"] {
            assert!(explain(incomplete).is_err(), "{incomplete}");
        }
    }
}
