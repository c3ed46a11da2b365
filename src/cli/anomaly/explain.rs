//! `howdah anomaly explain`: an incident as a sentence and a picture.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::score::judge;
use super::{Input, load};
use crate::anomaly::drawing;
use crate::anomaly::score::Scored;
use crate::anomaly::sentence;

/// Which incident is drawn.
#[derive(Debug, Args)]
pub struct Explain {
    /// The model.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// The incident, by its begin as 20260102t030405z; without it, the one with the highest score.
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Where the picture is written.
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,
}

/// Prints the incident and draws it.
pub fn run(arguments: &Explain) -> Result<()> {
    let model = load(&arguments.model)?;
    let table = arguments.input.read_for(&model)?;
    let (judged, incidents) = judge(model, &table);
    let incidents: Vec<_> = incidents.into_iter().map(|(incident, _)| incident).collect();
    let known = || incidents.iter().map(|incident| incident.id.as_str()).collect::<Vec<_>>().join(", ");
    let incident = match &arguments.incident {
        Some(id) => incidents
            .iter()
            .find(|incident| incident.id == *id)
            .with_context(|| format!("there is no incident {id}; there are: {}", known()))?,
        None => incidents
            .iter()
            .max_by(|a, b| a.peak.total_cmp(&b.peak))
            .context("there is no incident in these rows: nothing to draw")?,
    };
    // Groups may overlap in time: the picture shows the one that the incident began in.
    let groups = table.matrix.groups();
    let row = judged.iter().position(|row| row.scored.time == incident.since && row.scored.score >= Some(1.0));
    let group = row.map(|row| groups[row]);
    let rows: Vec<Scored> =
        judged.into_iter().zip(groups).filter(|(_, of)| Some(**of) == group).map(|(row, _)| row.scored).collect();
    let end = rows.last().map_or(incident.since, |row| row.time);
    println!("{}", sentence::incident(incident, end));
    let path = &arguments.out;
    std::fs::write(path, drawing::svg(incident, &rows))
        .with_context(|| format!("{} can't be written", path.display()))?;
    println!("picture: {}", path.display());
    Ok(())
}
