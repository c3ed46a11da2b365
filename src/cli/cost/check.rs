//! `howdah cost check`: for continuous integration and notebooks, whether a file has a statement in the top class.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::model_dir;
use crate::cost::answer::{Detail, Estimate};
use crate::cost::sqltext::statements;

/// The exit code when a statement is in the top class.
const TOO_HEAVY: u8 = 3;

/// Ends with code 3 when a statement of a file is in the top class.
#[derive(Debug, Args)]
pub struct Check {
    /// The directory of the model.
    #[arg(long, value_name = "MODEL_DIR")]
    model: PathBuf,
    /// The target that counts; without it, each.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Files of statements, parted by semicolons.
    #[arg(required = true, value_name = "FILE.sql")]
    files: Vec<PathBuf>,
}

/// Checks, and prints what is too heavy and why.
///
/// # Errors
/// The model or a file can't be read, or the model has no such target.
pub fn run(arguments: &Check) -> Result<ExitCode> {
    let model = model_dir::read(&arguments.model)?;
    let names: Vec<&str> = model.infos.iter().map(|info| info.name.as_str()).collect();
    let asked: Vec<usize> = match &arguments.target {
        None => (0..names.len()).collect(),
        Some(target) => match names.iter().position(|name| name == target) {
            Some(place) => vec![place],
            None => bail!("the model has no target {target:?}: it has {}", names.join(", ")),
        },
    };
    let (mut checked, mut heavy) = (0, 0);
    for path in &arguments.files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} can't be read as text", path.display()))?;
        for (line, statement) in statements(&text) {
            checked += 1;
            let answer = model.answer(statement, None, &asked, Detail { tokens: 5, nearest: 1 });
            for (estimate, place) in answer.targets.iter().zip(&asked) {
                let info = &model.infos[*place];
                if estimate.class + 1 < info.labels.len() {
                    continue;
                }
                heavy += 1;
                println!("{}:{line}: {}", path.display(), sentence(estimate, &info.unit));
                if let Some(nearest) = answer.nearest.first() {
                    println!("    most like it, seen {} times: {}", nearest.count, nearest.statement);
                }
            }
        }
    }
    println!("{checked} statements checked, {heavy} in the top class");
    Ok(if heavy > 0 { ExitCode::from(TOO_HEAVY) } else { ExitCode::SUCCESS })
}

fn sentence(estimate: &Estimate, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let probability = estimate.probabilities.get(estimate.class).copied().unwrap_or_default();
    let mut text = format!(
        "{} is in {}{unit} (probability {probability:.2}; median {:.4}, 90th percentile {:.4}; by {})",
        estimate.target,
        estimate.label,
        estimate.p50,
        estimate.p90,
        format!("{:?}", estimate.source).to_lowercase(),
    );
    if estimate.abstains {
        text.push_str(", but the model does not vouch for it: the statement is too new");
    }
    let pushes: Vec<String> =
        estimate.tokens.iter().map(|push| format!("{} ({:+.2})", push.token, push.weight)).collect();
    if !pushes.is_empty() {
        text.push_str(&format!("; because of {}", pushes.join(", ")));
    }
    text
}
